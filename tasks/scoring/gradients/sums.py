"""|gradient| summed over batches: what one shard adds, and how neighbours are joined where a batch reaches across them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.scoring.joined.layer import SumCounts

_FILE = "sums.safetensors"


@dataclass
class BatchSums:
    """What some neighbouring pairs add to one layer's scores, [out, in] float32 each, None where there is nothing.

    The absolute value is taken of a whole batch's gradient. So what belongs to a batch that began before or goes on
    afterwards keeps its sign until the neighbour with the rest of it comes.
    """

    n_pairs: int
    bounded: bool  # whether a batch begins or ends among them
    head: Tensor | None = None  # signed, of the batch that began before; of all where none begins or ends
    total: Tensor | None = None  # |gradient|, over the batches that begin and end here
    tail: Tensor | None = None  # signed, of the batch that goes on

    def join(self, later: "BatchSums") -> "BatchSums":
        """Take in the pairs that follow; neither is to be used again."""
        n_pairs, bounded = self.n_pairs + later.n_pairs, self.bounded or later.bounded
        if not self.bounded:
            return BatchSums(n_pairs, bounded, _added(self.head, later.head), later.total, later.tail)
        if not later.bounded:
            return BatchSums(n_pairs, bounded, self.head, self.total, _added(self.tail, later.head))
        across = _added(self.tail, later.head)
        total = _added(_added(self.total, None if across is None else across.abs()), later.total)
        return BatchSums(n_pairs, bounded, self.head, total, later.tail)

    def finished(self) -> Tensor:
        """What all pairs of a set come to, of which there is at least one. One batch without bounds keeps its sign."""
        last = None if self.tail is None else self.tail.abs()
        found = _added(self.total, last) if self.bounded else self.head
        if found is None:
            raise ValueError("nothing was added")
        return found


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


class GradientSums:
    """The gradients of one shard's pairs in the making; of a batch, piece by piece."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._open: dict[str, Tensor] = {}
        self._head: dict[str, Tensor] = {}
        self._total: dict[str, Tensor] = {}
        self._bounded = False

    def begin(self, *, bounded: bool) -> None:
        """Forget all; `bounded` says whether the first pair begins a batch."""
        for sums in (self._open, self._head, self._total):
            sums.clear()
        self._bounded = bounded

    def add(self, gradients: Mapping[str, Tensor]) -> None:
        """Add a piece of the current batch, [out, in] by layer."""
        for name, gradient in gradients.items():
            if name in self._open:
                self._open[name] += gradient
            else:
                self._open[name] = gradient.to(torch.float32, copy=True)

    def close_batch(self) -> None:
        """Take the current batch's gradient as whole and begin another."""
        for name, gradient in self._open.items():
            if not self._bounded:
                self._head[name] = gradient
            elif name in self._total:
                self._total[name] += gradient.abs_()
            else:
                self._total[name] = gradient.abs_()
        self._open.clear()
        self._bounded = True

    def ended(self, layer: str, n_pairs: int) -> BatchSums:
        """What the shard's pairs add to one layer."""
        head, total, last = (sums.get(layer) for sums in (self._head, self._total, self._open))
        if not self._bounded:
            return BatchSums(n_pairs, bounded=False, head=last)
        return BatchSums(n_pairs, bounded=True, head=head, total=total, tail=last)


class GradientLayer:
    """One layer's sums, as they are joined and kept."""

    def join(self, earlier: BatchSums, later: BatchSums) -> BatchSums:
        """Bring two neighbours together, neither of which is to be used again."""
        return earlier.join(later)

    def write(self, state: BatchSums, folder: Path) -> None:
        """Write `sums.safetensors` into the layer's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        sums = {"head": state.head, "total": state.total, "tail": state.tail}
        save_file({name: each.cpu().contiguous() for name, each in sums.items() if each is not None}, folder / _FILE)

    def read(self, folder: Path, counts: SumCounts | None) -> BatchSums:
        """Read what `write` wrote; `counts` are those of the record."""
        if counts is None:
            raise ValueError("the record of sums of gradients says what they are over")
        return BatchSums(counts["n_pairs"], bool(counts["bounded"]), **load_file(folder / _FILE))

    def as_read(self, state: BatchSums) -> BatchSums:
        """The sums themselves, which a file holds as they are."""
        return state

    def counts(self, state: BatchSums) -> SumCounts:
        """Over how many pairs, and whether a batch begins or ends among them."""
        return {"n_pairs": state.n_pairs, "bounded": int(state.bounded)}
