"""Single members of pairs, read from their shards without the rest."""

from collections.abc import Iterable, Iterator, Sequence

from data_specs.errors import DataError
from data_specs.run_config import Content, Encoder
from data_specs.samples import member_names
from data_specs.schemas import pair_id
from data_specs.wording import shown
from tasks.shards.inspection import Shard
from tasks.shards.tar import FILE, UNREADABLE, Tar, split_name
from tasks.shards.tar_headers import ReadError

# Pair, encoder, side.
MemberKey = tuple[str, Encoder, Content]


def read_members(shards: Sequence[Shard], wanted: Iterable[MemberKey]) -> Iterator[tuple[MemberKey, bytes]]:
    """Bytes of the wanted members, one at a time, in the order in which the shards hold them.

    Args:
        shards: those of which the pairs are.
        wanted: pair id, encoder and side of each member.

    Yields:
        The member's key and its file's bytes, each wanted member once.

    Raises:
        DataError: a member is in none of the shards, or a shard changed since it was checked.
    """
    left = set(wanted)
    for shard in shards:
        names = _names(shard, left)
        if names:
            yield from _read(shard, names)
            left -= set(names.values())
    if left:
        pair, encoder, content = min(left)
        raise DataError(
            f"{len(left)} members of pairs are in none of the {len(shards)} shards, the first being the {content} {encoder}"
            f" of pair {shown(pair)}; give the shards that were embedded"
        )


def _names(shard: Shard, wanted: set[MemberKey]) -> dict[tuple[str, str], MemberKey]:
    """Key and ending, in lower case, of each wanted member that this shard holds."""
    samples = {pair_id(shard.sha256, sample.key): sample for sample in shard.samples if sample.fault is None}
    names = {}
    for pair, encoder, content in wanted:
        sample = samples.get(pair)
        endings = member_names(encoder, content, paired=shard.paired) if sample else ()
        ending = next((ending for ending in endings if sample and ending in sample.members), None)
        if sample and ending is not None:
            names[sample.key, ending] = (pair, encoder, content)
    return names


def _read(shard: Shard, names: dict[tuple[str, str], MemberKey]) -> Iterator[tuple[MemberKey, bytes]]:
    left = dict(names)
    try:
        with Tar(shard.path) as tar:
            for entry in tar:
                key, ending = split_name(entry.name)
                if key is None or ending is None or entry.kind != FILE:
                    continue
                member = left.pop((key, ending.lower()), None)
                if member is not None:
                    yield member, tar.read(entry)
                if not left:
                    return
    except (ReadError, *UNREADABLE) as error:
        raise _changed(shard, f"{type(error).__name__}: {error}") from error
    raise _changed(shard, f"member {shown('.'.join(min(left)))} is gone")


def _changed(shard: Shard, detail: str) -> DataError:
    return DataError(
        f"shard {shard.location} changed since it was checked: {detail}; leave shards as they are during a run"
    )
