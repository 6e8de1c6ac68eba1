"""Captions and small pictures of single members, as artifacts hold them for a report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_specs.errors import DataError
from data_specs.gallery import CAPTION_CHARS, GalleryMember
from data_specs.run_config import Content
from data_specs.wording import shown
from tasks.lineage.digest import text_sha256
from tasks.lineage.progress import advance, stage
from tasks.reporting.members import MemberKey, read_members
from tasks.reporting.thumbnails import thumbnail
from tasks.shards.images import BadImage
from tasks.shards.inspection import Shard

_THUMBNAILS = "thumbnails"


def show_members(
    wanted: Mapping[MemberKey, str | None], shards: Sequence[Shard], folder: Path, label: str
) -> dict[MemberKey, GalleryMember]:
    """Read what is shown of members, and write their thumbnails; one member in memory at a time.

    Args:
        wanted: the tag of each member's pair.
        shards: those of which the pairs are.
        folder: of the artifact in the making; takes `thumbnails/`.
        label: of the progress.

    Returns:
        What is shown of each member.

    Raises:
        DataError: a member is in none of the shards, or cannot be read any more.
    """
    (folder / _THUMBNAILS).mkdir(exist_ok=True)
    found: dict[MemberKey, GalleryMember] = {}
    with stage(label, len(wanted), "members"):
        for key, data in read_members(shards, wanted):
            pair, encoder, content = key
            caption = picture = None
            if encoder == "text":
                caption = _caption(data)
            else:
                picture = f"{_THUMBNAILS}/{text_sha256('/'.join(key))[:16]}.jpg"
                (folder / picture).write_bytes(_thumbnail(data, content, pair))
            found[key] = GalleryMember(
                pair_id=pair, content=content, tag=wanted[key], caption=caption, thumbnail=picture
            )
            advance(label)
    return found


def _caption(data: bytes) -> str:
    text = data.decode("utf-8", errors="replace").strip()
    return text if len(text) <= CAPTION_CHARS else text[:CAPTION_CHARS] + "…"


def _thumbnail(data: bytes, content: Content, pair: str) -> bytes:
    try:
        return thumbnail(data, content)
    except BadImage as error:
        raise DataError(
            f"the {content} picture of pair {shown(pair)} was read before and cannot be read now: {error}; leave shards"
            " as they are during a run"
        ) from error
