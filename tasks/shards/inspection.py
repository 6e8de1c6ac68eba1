"""What a shard really holds: a cut tar or scattered members would else be read without any error."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from data_specs.errors import DataError
from data_specs.run_config import Content
from data_specs.samples import LARGEST_MEMBER_BYTES, LONGEST_KEY_BYTES, BadReason
from data_specs.wording import first_line
from tasks.lineage.digest import file_sha256
from tasks.shards.location import is_elsewhere, local_copy
from tasks.shards.tar import DIRECTORY, FILE, LINKS, SPARSE_FILE, UNREADABLE, Member, Tar, split_name
from tasks.shards.tar_headers import ReadError

# What webdataset passes over: names such as __meta__ and all below them.
_METADATA = re.compile(r"__[^/]*__(?:$|/)")
# What macOS and its tar leave behind.
_SYSTEM_FILE = re.compile(r"(?:.*/)?(?:\._[^/]*|\.DS_Store)")
_KEY = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+")


@dataclass(frozen=True)
class UnusableMember:
    """A member that is there, but must not be read, or cannot be (a link: readers pass over it)."""

    ending: str
    reason: BadReason
    detail: str


@dataclass
class _Group:
    """Members that stand together: their key, their endings in tar order (None: the name has none), what cannot be read."""

    key: str
    endings: list[str | None] = field(default_factory=list)
    unusable: list["UnusableMember"] = field(default_factory=list)


@dataclass(frozen=True)
class IndexedSample:
    """One key of a shard: its members' endings in tar order, what is wrong with its place in the tar and with members."""

    key: str
    members: tuple[str, ...]
    fault: BadReason | None
    unusable: tuple[UnusableMember, ...] = ()


@dataclass(frozen=True)
class Shard:
    """A checked shard. `content` is None where it is paired, else the side that all of it is."""

    location: str
    path: Path
    sha256: str
    size_bytes: int
    content: Content | None
    samples: tuple[IndexedSample, ...]

    @property
    def paired(self) -> bool:
        """Whether it holds both sides under one key."""
        return self.content is None


class OpensElsewhere(Protocol):
    """Checks shards that lie elsewhere, in order."""

    def opened(self, locations: Sequence[str], content: Content | None) -> list[Shard]:
        """The shards."""


def open_shards(locations: Sequence[str], content: Content | None, folder: Path | OpensElsewhere) -> list[Shard]:
    """Check shards one by one, in order; `folder` takes copies of those that are not local.

    Raises:
        DataError: a shard is missing, empty or cut, or the same bytes come twice.
    """
    if isinstance(folder, Path):
        shards = [inspect_shard(location, content, local_copy(location, folder)) for location in locations]
    else:
        far = [location for location in locations if is_elsewhere(location)]
        fetched = dict(zip(far, folder.opened(far, content), strict=True))
        shards = [
            fetched[location] if location in fetched else inspect_shard(location, content, local_copy(location, Path()))
            for location in locations
        ]
    first: dict[str, str] = {}
    for shard in shards:
        if shard.sha256 in first:
            raise DataError(
                f"shards {first[shard.sha256]} and {shard.location} are the same bytes, so their pairs would count twice;"
                " name one of them"
            )
        first[shard.sha256] = shard.location
    return shards


def inspect_shard(location: str, content: Content | None, path: Path) -> Shard:
    """Index a tar and make sure that nothing of it is missing.

    Args:
        location: as the user named it, for errors.
        content: None for a paired shard, else its side.
        path: the local file.

    Returns:
        The shard with every key in tar order; samples with a fault are marked, not dropped.

    Raises:
        DataError: it is empty, no tar, damaged, or lacks its end-of-archive mark.
    """
    if path.stat().st_size == 0:
        raise DataError(f"shard {location} is empty: 0 bytes; expected a tar file")
    try:
        groups = _read_groups(path)
    except ReadError as error:
        raise DataError(f"shard {location} {error}") from error
    except PermissionError as error:
        raise DataError(f"shard {location} cannot be read: {error.strerror}; expected a readable tar file") from error
    except UNREADABLE as error:
        reason = first_line(error).rstrip(":")
        raise DataError(f"shard {location} is damaged or no tar file: {reason}; pack or fetch it again") from error
    if not groups:
        raise DataError(f"shard {location} holds no samples; expected members such as KEY.safe.jpg")
    samples = tuple(_with_faults(groups))
    return Shard(location, path, file_sha256(path), path.stat().st_size, content, samples)


def _read_groups(path: Path) -> list[_Group]:
    groups: list[_Group] = []
    with Tar(path) as tar:
        for member in tar:
            if member.kind == DIRECTORY or _METADATA.match(member.name) or _SYSTEM_FILE.fullmatch(member.name):
                continue
            key, ending = split_name(member.name)
            if key is None:
                key, ending = member.name, None
            if not groups or groups[-1].key != key:
                groups.append(_Group(key))
            _add_member(groups[-1], member, None if ending is None else ending.lower())
    return groups


def _add_member(group: _Group, member: Member, ending: str | None) -> None:
    shown = ending or member.name
    if member.kind in LINKS:
        group.unusable.append(
            UnusableMember(shown, "missing member", f"{shown} is {member.kind}; pack the file itself")
        )
    elif member.kind == SPARSE_FILE:
        group.unusable.append(
            UnusableMember(shown, "sparse member", f"{shown} is {member.kind}; pack it as a plain one")
        )
    elif member.kind == FILE:
        group.endings.append(ending)
        largest = LARGEST_MEMBER_BYTES.get(shown.rpartition(".")[2])
        if largest is not None and member.size_bytes > largest:
            detail = f"{shown} has {member.size_bytes} bytes, expected at most {largest}"
            group.unusable.append(UnusableMember(shown, "member too large", detail))


def _with_faults(groups: list[_Group]) -> list[IndexedSample]:
    n_groups = Counter(group.key for group in groups)
    gathered: dict[str, _Group] = {}
    for group in groups:
        whole = gathered.setdefault(group.key, _Group(group.key))
        whole.endings.extend(group.endings)
        whole.unusable.extend(group.unusable)
    samples = []
    for key, group in gathered.items():
        fault: BadReason | None = None
        # An ending such as __bad__ is a flag to webdataset, which then drops the sample.
        if not _is_key(key) or any(ending is None or ending.startswith("__") for ending in group.endings):
            fault = "invalid member name"
        elif len(set(group.endings)) < len(group.endings):
            fault = "duplicate key"
        elif n_groups[key] > 1:
            fault = "members not adjacent"
        named = key.encode("utf-8", "backslashreplace").decode()
        endings = tuple(ending for ending in group.endings if ending is not None)
        samples.append(IndexedSample(named, endings, fault, tuple(group.unusable)))
    return samples


def _is_key(key: str) -> bool:
    return bool(_KEY.fullmatch(key)) and len(key.encode("utf-8", "surrogatepass")) <= LONGEST_KEY_BYTES
