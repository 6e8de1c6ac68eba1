"""A layer's scores by rank and by cumulated mass, without sorting more than a small part of them."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import NotSelectable

_CLASSES = 1 << 16
_LOW_BITS = np.uint32(16)
# Scores looked at together: what is made of them stays in the processor's caches.
_AT_ONCE = 1 << 16


class Ranking:
    """Scores counted by their leading 16 bits, which are in the order of the values; where it matters, one class is sorted.

    One look at a layer serves its quantiles and all its selections.
    """

    def __init__(self, scores: NDArray[np.float32]) -> None:
        """Rank scores of any shape, in row-major order.

        Raises:
            NotSelectable: a score is NaN or infinite.
        """
        self.flat = np.ascontiguousarray(scores, dtype=np.float32).reshape(-1)
        self._bits = self.flat.view(np.uint32)
        self._classes = _classes()
        counts, sums = _counted(self.flat, self._bits)
        counts, sums = counts[self._classes.leading], sums[self._classes.leading]
        n_bad = int(counts[~self._classes.finite].sum())
        if n_bad:
            raise NotSelectable(f"{n_bad} of {self.flat.size} scores are NaN or infinite")
        self._up_to = np.cumsum(counts)
        self._mass = np.cumsum(sums)
        self._sorted: dict[int, NDArray[np.float32]] = {}

    @property
    def size(self) -> int:
        """How many scores there are."""
        return self.flat.size

    @property
    def total(self) -> float:
        """The sum of all scores."""
        return float(self._mass[-1])

    def prepare(self, shares: Iterable[float], masses: Iterable[float]) -> None:
        """Find in one pass over the scores what `quantiles` of `shares` and `left_by_mass` of each of `masses` look at."""
        places = self._places(self._ranks(shares))
        if self.total > 0:
            places += [self._place_of_mass(tau) for tau in masses]
        self._members(places)

    def at(self, rank: int) -> np.float32:
        """The score that has `rank` others before it, in ascending order."""
        return self._at([rank])[0]

    def quantiles(self, shares: Iterable[float]) -> list[np.float32]:
        """For each share, the smallest score that at least a share of all scores does not exceed."""
        return self._at(self._ranks(shares))

    def left_by_mass(self, tau: float) -> int:
        """How many of the lowest scores hold at most a share `tau` of the sum.

        Negative scores lower the cumulated mass first, which then only rises: what exceeds tau are the highest ones.

        Raises:
            NotSelectable: the sum is not positive.
        """
        total = self.total
        if total <= 0:
            raise NotSelectable(f"score_mass needs a positive sum of scores, got {total:g}; use rule top_share")
        found = self._place_of_mass(tau)
        of_class = self._members([found])[found]
        before = self._mass[found - 1] if found else 0.0
        mass = before + np.cumsum(of_class, dtype=np.float64)
        n_left = int(self._up_to[found]) - len(of_class) + int(np.count_nonzero(mass / total <= tau))
        # The last one completes the mass, whatever the last digits of two sums say.
        return min(n_left, self.size - 1)

    def _ranks(self, shares: Iterable[float]) -> list[int]:
        return [max(0, int(np.ceil(share * self.size)) - 1) for share in shares]

    def _places(self, ranks: Sequence[int]) -> list[int]:
        places: list[int] = np.searchsorted(self._up_to, ranks, side="right").tolist()
        return places

    def _place_of_mass(self, tau: float) -> int:
        return int(np.argmax(self._mass / self.total > tau))

    def _at(self, ranks: Sequence[int]) -> list[np.float32]:
        places = self._places(ranks)
        members = self._members(places)
        # A place from the end: `up_to` are the scores of this class and of all before it.
        return [members[place][rank - self._up_to[place]] for place, rank in zip(places, ranks, strict=True)]

    def _members(self, places: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The scores of some classes, ascending; they are found in one pass, and kept."""
        missing = [place for place in dict.fromkeys(places) if place not in self._sorted]
        pieces: list[NDArray[np.float32]] = []
        for start in range(0, self.size if missing else 0, _AT_ONCE):
            leading = (self._bits[start : start + _AT_ONCE] >> _LOW_BITS).astype(np.uint16)
            inside = np.zeros(len(leading), np.bool_)
            for place in missing:
                inside |= leading == self._classes.leading[place]
            pieces.append(self.flat[start : start + _AT_ONCE][inside])
        if missing:
            some = np.concatenate(pieces)
            of_some = (some.view(np.uint32) >> _LOW_BITS).astype(np.uint16)
            for place in missing:
                self._sorted[place] = np.sort(some[of_some == self._classes.leading[place]])
        return self._sorted


class _Classes(NamedTuple):
    """All classes [65536] in the order of their values; `finite` is False where they hold NaN or infinity."""

    leading: NDArray[np.uint16]
    finite: NDArray[np.bool_]


@cache
def _classes() -> _Classes:
    half = _CLASSES // 2
    # Of negative numbers larger bits are smaller values.
    leading = np.concatenate([np.arange(_CLASSES - 1, half - 1, -1), np.arange(half)]).astype(np.uint16)
    return _Classes(leading, np.isfinite((leading.astype(np.uint32) << _LOW_BITS).view(np.float32)))


def _counted(flat: NDArray[np.float32], bits: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """By leading 16 bits, how many numbers have them, and their sum.

    A class has one sign and exponent, so that a double holds the sum of 2^29 of its numbers exactly: in whatever order
    they are added, it is the same to the bit.
    """
    counts, sums = np.zeros(_CLASSES, np.int64), np.zeros(_CLASSES)
    lowest, highest = bits.min() >> _LOW_BITS, bits.max() >> _LOW_BITS
    n_met = int(highest) - int(lowest) + 1
    met = slice(int(lowest), int(highest) + 1)
    with np.errstate(invalid="ignore"):  # NaN, which is counted
        for start in range(0, bits.size, _AT_ONCE):
            leading = ((bits[start : start + _AT_ONCE] >> _LOW_BITS) - lowest).astype(np.int64)
            counts[met] += np.bincount(leading, minlength=n_met)
            sums[met] += np.bincount(leading, flat[start : start + _AT_ONCE], n_met)
    return counts, sums
