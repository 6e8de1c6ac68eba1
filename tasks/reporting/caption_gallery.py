"""Which of the captioned pictures are shown, and what models wrote about them."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import pyarrow as pa

from data_specs.caption_rows import judge_column
from data_specs.gallery import (
    VERDICT_TURNS,
    WRITTEN_CHARS,
    CaptionedPicture,
    CaptionGallery,
    GalleryMember,
    WrittenCaption,
    has_turned,
    is_disputed,
)
from tasks.reporting.members import MemberKey

_DRAWN = 4  # of as many pictures one is drawn from all that are left, whatever judges say


@dataclass(frozen=True)
class PictureWrittenAbout:
    """A picture, and of each model its caption and what judges say of it, in the order of the models."""

    key: MemberKey
    tag: str | None
    captions: list[str]
    said: list[dict[str, str]]


def pictures_written_about(outcomes: Iterable[pa.Table], judges: Sequence[str]) -> list[PictureWrittenAbout]:
    """Every picture of which all models have a caption, in the order of the first.

    Args:
        outcomes: rows of `caption_outcomes_schema` of each model, the original first.
        judges: whose columns all have.
    """
    first, *others = ([*_rows(table, judges)] for table in outcomes)
    found = {row.key: row for row in first}
    for rows in others:
        own = {row.key: row for row in rows}
        for key in [key for key in found if key not in own]:
            del found[key]
        for key, row in found.items():
            row.captions.extend(own[key].captions)
            row.said.extend(own[key].said)
    return [*found.values()]


def _rows(table: pa.Table, judges: Sequence[str]) -> Iterable[PictureWrittenAbout]:
    names = ["pair_id", "content", "tag", "caption", *map(judge_column, judges)]
    for batch in table.select(names).to_batches():
        for row in batch.to_pylist():
            said = {judge: row[judge_column(judge)] for judge in judges}
            yield PictureWrittenAbout(
                (row["pair_id"], "vision", row["content"]), row["tag"], [_cut(row["caption"])], [said]
            )


def _cut(text: str) -> str:
    return text if len(text) <= WRITTEN_CHARS else text[:WRITTEN_CHARS] + "…"


def pick_pictures(said: Sequence[Sequence[Mapping[str, str]]], seed: int, n: int) -> list[int]:
    """Draw pictures at random: by turns one whose caption judges dispute, one that the edit broke and one that it mended.

    Args:
        said: of each picture the outcomes by judge of each model's caption.
        seed: of the draw.
        n: how many at most; a quarter of them is drawn from those that are neither.

    Returns:
        Their places, each once, those that are neither last.
    """
    drawn = random.Random(f"captions/{seed}").sample(range(len(said)), len(said))
    groups = [[place for place in drawn if is_disputed(said[place])]]
    groups += [[place for place in drawn if has_turned(said[place], way)] for way in VERDICT_TURNS]
    telling = [*dict.fromkeys(place for place in chain.from_iterable(zip_longest(*groups)) if place is not None)]
    known = {*telling}
    others = [place for place in drawn if place not in known]
    n_telling = max(n - n // _DRAWN, n - len(others))
    return [*telling[:n_telling], *others][:n]


def compose_captions(
    models: Sequence[str],
    pictures: Sequence[PictureWrittenAbout],
    drawn: Sequence[int],
    shown: Mapping[MemberKey, GalleryMember],
    seed: int,
) -> CaptionGallery:
    """The record of the drawn pictures, from all of them and from what is shown of these."""
    return CaptionGallery(
        models=[*models],
        judges=[*pictures[0].said[0]],
        seed=seed,
        n_pictures=len(pictures),
        n_disputed=sum(is_disputed(item.said) for item in pictures),
        n_turned={way: sum(has_turned(item.said, way) for item in pictures) for way in VERDICT_TURNS},
        pictures=[_picture(models, pictures[place], shown) for place in drawn],
    )


def _picture(
    models: Sequence[str], picture: PictureWrittenAbout, shown: Mapping[MemberKey, GalleryMember]
) -> CaptionedPicture:
    written = [
        WrittenCaption.model_validate({"model": model, "caption": caption, "outcomes": outcomes})
        for model, caption, outcomes in zip(models, picture.captions, picture.said, strict=True)
    ]
    return CaptionedPicture(member=shown[picture.key], captions=written)
