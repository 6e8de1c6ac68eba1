"""Shards of pairs of which only one side is there, such as captions that nobody has a safe counterpart of."""

from collections.abc import Sequence
from dataclasses import fields

from data_specs.run_config import ENCODERS, Content
from data_specs.samples import member_names
from tasks.shards.inspection import Shard


class OneSidedShard(Shard):
    """A shard that is all of one side, whose members are named as those of pairs are."""

    @property
    def paired(self) -> bool:
        """Members are named KEY.unsafe.txt and the like, as `Shard.paired` says of both sides."""
        return True


def unsafe_side_alone(shards: Sequence[Shard]) -> list[Shard]:
    """Paired shards as their unsafe side, where no sample of any of them holds a safe member; else as they are."""
    held = {ending for shard in shards for sample in shard.samples for ending in sample.members}
    if held & _names("safe") or not held & _names("unsafe"):
        return list(shards)
    return [
        OneSidedShard(**{item.name: getattr(shard, item.name) for item in fields(shard)} | {"content": "unsafe"})
        for shard in shards
    ]


def _names(content: Content) -> set[str]:
    return {name for encoder in ENCODERS for name in member_names(encoder, content, paired=True)}
