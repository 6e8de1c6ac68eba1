"""Which pairs the gradients of one shard depend on: its own, and those of other shards that are in a batch with them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class PairWindow:
    """All pairs of some consecutive batches, and which of them are one shard's own; a value that can be sent.

    The own pairs are `pair_ids[start:stop]`, neighbours; the first batch begins with the first of `pair_ids`. Where
    `batch_pairs` is None, no loss looks across pairs, and all pairs of the set are one batch.
    """

    pair_ids: tuple[str, ...]
    start: int
    stop: int
    batch_pairs: int | None

    @property
    def own(self) -> tuple[str, ...]:
        """The shard's own pairs, in their order."""
        return self.pair_ids[self.start : self.stop]

    @property
    def begins_batch(self) -> bool:
        """Whether the first own pair, or the first after them where there is none, is the first of its batch."""
        return self.batch_pairs is not None and self.start == 0

    @property
    def ends_batch(self) -> bool:
        """Whether the last own pair is the last of a full batch."""
        return self.batch_pairs is not None and self.stop > self.start and self.stop % self.batch_pairs == 0

    def batches(self) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Of each batch that holds own pairs all pairs, and those that are the shard's own."""
        size = self.batch_pairs or max(1, len(self.pair_ids))
        for first in range(0, len(self.pair_ids), size):
            own = self.pair_ids[max(first, self.start) : min(first + size, self.stop)]
            yield self.pair_ids[first : first + size], own


NO_PAIRS = PairWindow((), 0, 0, None)


def pair_windows(shards: Sequence[Sequence[str]], batch_pairs: int | None) -> list[PairWindow]:
    """The window of each shard.

    Args:
        shards: the ids of the pairs that are used, by shard, in their order.
        batch_pairs: pairs in a batch, which may reach across shards; the last is what is left. None where the loss does
            not look across pairs.

    Returns:
        One a shard; that of a shard without pairs holds none.
    """
    if batch_pairs is None:
        return [PairWindow(tuple(own), 0, len(own), None) for own in shards]
    every = [name for own in shards for name in own]
    windows = []
    for own, stop in zip(shards, accumulate(map(len, shards)), strict=True):
        start = stop - len(own)
        first = start // batch_pairs * batch_pairs
        last = -(-stop // batch_pairs) * batch_pairs if own else first
        windows.append(PairWindow(tuple(every[first:last]), start - first, stop - first, batch_pairs))
    return windows
