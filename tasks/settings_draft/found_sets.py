"""What somebody has to start from: shards, or a table that is to be packed, with counts and tags."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_specs.errors import DataError, SpecError
from data_specs.run_config import CONTENTS, ENCODERS, Content, Encoder
from data_specs.samples import TAG_SUFFIX, member_names
from tasks.shards.decoding import Undecodable, sample_tag
from tasks.shards.inspection import Shard, open_shards
from tasks.shards.location import is_elsewhere
from tasks.shards.packing import DEFAULT_MAX_COUNT
from tasks.shards.tables import PairRow, read_table
from tasks.shards.tar import FILE, Tar, split_name

# Of which a fifth is for evaluation.
FEWEST_SHARDS = 5
_NUMBER_AT_THE_END = re.compile(r"[-_.]?\d+$")
KIND_OF_MEMBERS: dict[Encoder, str] = {"text": "text", "vision": "image"}


@dataclass(frozen=True)
class FoundShard:
    """A shard that is there or is to be packed; `whole` counts by encoder the samples that hold both sides."""

    path: Path
    n_pairs: int
    whole: Counter[Encoder]
    tags: Counter[str]


@dataclass(frozen=True)
class FoundSet:
    """Shards that are called alike, or a table and those that it is to be packed to, `max_count` pairs in each."""

    name: str
    shards: list[FoundShard] = field(default_factory=list)
    table: Path | None = None
    max_count: int = DEFAULT_MAX_COUNT


def shard_sets(locations: Sequence[str]) -> list[FoundSet]:
    """Shards on this machine, put together by their names without the number; tags are read, nothing is decoded.

    Raises:
        SpecError: one lies elsewhere.
        DataError: one is missing, damaged, there twice, or not paired.
    """
    for location in locations:
        if is_elsewhere(location):
            raise SpecError(f"shard {location} is not on this machine; write run.yaml for it by hand, or fetch it")
    sets: dict[tuple[Path, str], FoundSet] = {}
    for shard in open_shards(locations, None, Path()):
        name = _NUMBER_AT_THE_END.sub("", shard.path.stem)
        found = sets.setdefault((shard.path.parent, name), FoundSet(name or shard.path.parent.absolute().name))
        found.shards.append(_found(shard))
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
            table.with_name(f"{table.stem}-{number:06d}.tar"),
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
    whole: Counter[Encoder] = Counter()
    for sample in shard.samples:
        for encoder in ENCODERS:
            sides = (member_names(encoder, content, paired=True) for content in CONTENTS)
            whole[encoder] += all(set(names) & set(sample.members) for names in sides)
    if not whole.total():
        raise DataError(
            f"shard {shard.location} holds no pair; expected members such as KEY.safe.txt and KEY.unsafe.txt under one key"
            " (of unpaired sets, calibration.safe and calibration.unsafe of a run.yaml are written by hand)"
        )
    return FoundShard(shard.path, len(shard.samples), whole, Counter(_tags(shard.path)))


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
