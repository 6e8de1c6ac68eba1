"""Digests of what shards hold, whatever it is called."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from data_specs.errors import DataError
from data_specs.samples import member_names, needed_contents
from tasks.shards.inspection import Shard
from tasks.shards.tar import FILE, UNREADABLE, Tar, split_name
from tasks.shards.tar_headers import ReadError

# Of 16 bytes two are equal by chance once in 2^64 members.
_DIGEST_BYTES = 16


@dataclass
class Held:
    """Members of a set by digest, with how often each is there; some 100 bytes a member."""

    images: dict[bytes, int] = field(default_factory=dict)
    captions: dict[bytes, int] = field(default_factory=dict)


def held_by(shards: Iterable[Shard]) -> Held:
    """Digests of the pictures' bytes and of the captions' texts without surrounding white space, both sides of a pair.

    Members that no encoder reads do not count, nor do those of samples with a fault.

    Raises:
        DataError: a shard changed since it was checked.
    """
    held = Held()
    for shard in shards:
        try:
            _add(shard, held)
        except (ReadError, *UNREADABLE) as error:
            raise DataError(f"shard {shard.location} changed while it was read; start again") from error
    return held


def _add(shard: Shard, held: Held) -> None:
    sound = {sample.key for sample in shard.samples if sample.fault is None}
    contents = needed_contents(shard.content)
    images = {name for content in contents for name in member_names("vision", content, paired=shard.paired)}
    texts = {name for content in contents for name in member_names("text", content, paired=shard.paired)}
    with Tar(shard.path) as tar:
        for entry in tar:
            key, ending = split_name(entry.name)
            if entry.kind != FILE or key not in sound or ending is None:
                continue
            if ending.lower() in images:
                _count(held.images, tar.read(entry))
            elif ending.lower() in texts:
                _count(held.captions, tar.read(entry).strip())


def _count(counts: dict[bytes, int], data: bytes) -> None:
    digest = hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
    counts[digest] = counts.get(digest, 0) + 1
