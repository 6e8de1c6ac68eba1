"""A layer's scores by rank and by cumulated mass, without sorting more than a small part of them."""

import sys

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import NotSelectable

_CLASSES = 1 << 16
_HIGH_HALF = 1 if sys.byteorder == "little" else 0


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
        finite = np.isfinite(self.flat)
        if not finite.all():
            raise NotSelectable(f"{int((~finite).sum())} of {self.flat.size} scores are NaN or infinite")
        high = self.flat.view(np.int16)[_HIGH_HALF::2]
        # Of negative numbers larger bits are smaller values.
        self._class = (high ^ ((high >> 15) & np.int16(0x7FFF))).astype(np.int64) + _CLASSES // 2
        self._up_to = np.cumsum(np.bincount(self._class, minlength=_CLASSES))
        # In double precision, in an order that the scores alone decide.
        self._mass = np.cumsum(np.bincount(self._class, weights=self.flat, minlength=_CLASSES))

    @property
    def size(self) -> int:
        """How many scores there are."""
        return self.flat.size

    @property
    def total(self) -> float:
        """The sum of all scores."""
        return float(self._mass[-1])

    def at(self, rank: int) -> np.float32:
        """The score that has `rank` others before it, in ascending order."""
        found = int(np.searchsorted(self._up_to, rank, side="right"))
        of_class = self.flat[np.flatnonzero(self._class == found)]
        place = rank - (self._up_to[found] - len(of_class))
        value: np.float32 = np.partition(of_class, place)[place]
        return value

    def quantile(self, share: float) -> np.float32:
        """The smallest score that at least a share of all scores does not exceed."""
        return self.at(max(0, int(np.ceil(share * self.size)) - 1))

    def left_by_mass(self, tau: float) -> int:
        """How many of the lowest scores hold at most a share `tau` of the sum.

        Negative scores lower the cumulated mass first, which then only rises: what exceeds tau are the highest ones.

        Raises:
            NotSelectable: the sum is not positive.
        """
        total = self.total
        if total <= 0:
            raise NotSelectable(f"score_mass needs a positive sum of scores, got {total:g}; use rule top_share")
        found = int(np.argmax(self._mass / total > tau))
        of_class = np.sort(self.flat[np.flatnonzero(self._class == found)])
        before = self._mass[found - 1] if found else 0.0
        mass = before + np.cumsum(of_class, dtype=np.float64)
        n_left = int(self._up_to[found]) - len(of_class) + int(np.count_nonzero(mass / total <= tau))
        # The last one completes the mass, whatever the last digits of two sums say.
        return min(n_left, self.size - 1)
