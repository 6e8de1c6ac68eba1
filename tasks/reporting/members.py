"""Single members of pairs, read from their shards without the rest."""

import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from lzma import LZMAError

from webdataset.tariterators import base_plus_ext

from data_specs.errors import DataError
from data_specs.run_config import Content, Encoder
from data_specs.samples import member_names
from data_specs.schemas import pair_id
from data_specs.wording import shown
from tasks.shards.inspection import Shard

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
        with tarfile.open(shard.path, "r:*") as tar:
            for entry in tar:
                tar.members = []  # type: ignore[attr-defined]  # else a tar of millions of members fills memory
                key, ending = base_plus_ext(entry.name)
                member = left.pop((key, ending.lower()), None) if key is not None and entry.isreg() else None
                file = tar.extractfile(entry) if member is not None else None
                if member is not None and file is not None:
                    yield member, file.read()
                if not left:
                    return
    except (tarfile.TarError, EOFError, OSError, zlib.error, LZMAError) as error:
        raise _changed(shard, f"{type(error).__name__}: {error}") from error
    raise _changed(shard, f"member {shown('.'.join(min(left)))} is gone")


def _changed(shard: Shard, detail: str) -> DataError:
    return DataError(
        f"shard {shard.location} changed since it was checked: {detail}; leave shards as they are during a run"
    )
