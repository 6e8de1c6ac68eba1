"""What somebody has to start from: shards, or a table that is to be packed, with counts and tags."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from data_specs.errors import DataError
from data_specs.run_config import CONTENTS, ENCODERS, Content, Encoder
from data_specs.samples import TAG_SUFFIX, member_names
from tasks.lineage.progress import counted
from tasks.shards.decoding import Undecodable, sample_tag
from tasks.shards.elsewhere import shards_in_turn
from tasks.shards.inspection import Shard
from tasks.shards.location import is_elsewhere, set_of
from tasks.shards.packing import DEFAULT_MAX_COUNT
from tasks.shards.tables import PairRow, read_table
from tasks.shards.tar import FILE, Tar, split_name

# Of which a fifth is for evaluation.
FEWEST_SHARDS = 5
# What the samples of a shard are: pairs, pairs of which only the unsafe side is there, or of one side without its name.
SampleKind = Literal["pairs", "unsafe members", "unpaired"]
KIND_OF_MEMBERS: dict[Encoder, str] = {"text": "text", "vision": "image"}


@dataclass(frozen=True)
class FoundShard:
    """A shard that is there or is to be packed; `whole` counts by encoder the samples that hold all that their kind asks."""

    location: str
    n_pairs: int
    whole: Counter[Encoder]
    tags: Counter[str]
    kind: SampleKind = "pairs"


@dataclass(frozen=True)
class FoundSet:
    """Shards that are called alike, or a table and those that it is to be packed to, `max_count` pairs in each."""

    name: str
    shards: list[FoundShard] = field(default_factory=list)
    table: Path | None = None
    max_count: int = DEFAULT_MAX_COUNT

    @property
    def kind(self) -> SampleKind:
        """That of its shards."""
        return self.shards[0].kind


def shard_sets(locations: Sequence[str], folder: Path, *, limit_bytes: int | None = None) -> list[FoundSet]:
    """Shards put together by their names without the number; tags are read, nothing is decoded.

    Args:
        locations: shards, expanded.
        folder: takes a copy of each that is not on this machine, as long as it is looked at.
        limit_bytes: of all copies together, those that come meanwhile too; None for no limit.

    Raises:
        SpecError: one is larger than the limit.
        DataError: one is missing, cannot be fetched, is damaged, there twice, or holds nothing that an encoder reads;
            or those of a set hold samples of several kinds.
    """
    sets: dict[tuple[str, str], FoundSet] = {}
    seen: dict[str, str] = {}
    with closing(shards_in_turn(locations, folder, limit_bytes)) as in_turn:
        for location, opened in zip(counted("look at shards", locations, "shards"), in_turn, strict=True):
            shard = replace(opened(), location=location)  # as it is to be written
            if shard.sha256 in seen:
                raise DataError(f"shards {seen[shard.sha256]} and {location} are the same bytes; name one of them")
            seen[shard.sha256] = location
            place = set_of(location)
            found = sets.setdefault(place, FoundSet(place[1] or Path(place[0]).absolute().name))
            found.shards.append(_found(shard))
            if found.shards[-1].kind != found.kind:
                raise DataError(
                    f"shard {location} holds {found.shards[-1].kind}, {found.shards[0].location} {found.kind}; name"
                    " them apart"
                )
            if is_elsewhere(location):
                shard.path.unlink(missing_ok=True)
    return list(sets.values())


def table_set(table: Path) -> FoundSet:
    """The shards that a table is to be packed to, beside it; its pictures are not looked at.

    Raises:
        SpecError, DataError: as `read_table`, or it has too few rows to be split.
    """
    rows = [_counted(row) for row in read_table(table)]
    if len(rows) < 2:
        raise DataError(f"table {table} has {len(rows)} rows; expected one at least to edit on and one to measure on")
    max_count = min(DEFAULT_MAX_COUNT, -(-len(rows) // FEWEST_SHARDS))
    shards = [
        FoundShard(
            str(table.with_name(f"{table.stem}-{number:06d}.tar")),
            len(part),
            sum((whole for whole, _ in part), Counter()),
            Counter(tag for _, tag in part if tag is not None),
        )
        for number, part in enumerate(rows[at : at + max_count] for at in range(0, len(rows), max_count))
    ]
    return FoundSet(table.stem, shards, table, max_count)


def lacking(shards: Sequence[FoundShard]) -> list[str]:
    """The kinds of members, text or image, of which no sample of these shards holds a safe and an unsafe one."""
    return [KIND_OF_MEMBERS[encoder] for encoder in ENCODERS if not any(shard.whole[encoder] for shard in shards)]


def _counted(row: PairRow) -> tuple[Counter[Encoder], str | None]:
    sides: dict[Encoder, Collection[Content]] = {"text": row.texts, "vision": row.images}
    return Counter(encoder for encoder in ENCODERS if set(sides[encoder]) == set(CONTENTS)), row.tag


def _found(shard: Shard) -> FoundShard:
    asked: dict[SampleKind, Sequence[tuple[Content, bool]]] = {
        "pairs": [(content, True) for content in CONTENTS],
        "unsafe members": [("unsafe", True)],
        "unpaired": [("safe", False)],  # members of either side are named alike
    }
    for kind, sides in asked.items():
        whole: Counter[Encoder] = Counter()
        for sample in shard.samples:
            for encoder in ENCODERS:
                names = (member_names(encoder, content, paired=paired) for content, paired in sides)
                whole[encoder] += all(set(each) & set(sample.members) for each in names)
        if whole.total():
            return FoundShard(shard.location, len(shard.samples), whole, Counter(_tags(shard.path)), kind)
    raise DataError(
        f"shard {shard.location} holds no pair; expected members such as KEY.safe.txt and KEY.unsafe.txt under one key, or"
        " of unpaired samples such as KEY.txt"
    )


def _tags(path: Path) -> Iterator[str]:
    with Tar(path) as tar:
        for member in tar:
            key, ending = split_name(member.name)
            if member.kind != FILE or key is None or ending != TAG_SUFFIX:
                continue
            try:
                tag = sample_tag({"__key__": key, TAG_SUFFIX: tar.read(member)})
            except Undecodable:
                continue
            if tag is not None:
                yield tag
