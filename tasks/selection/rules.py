"""The two rules that turn scores into a set of weights. Equal scores: the later position is selected first."""

from bisect import bisect_right
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import NotSelectable
from data_specs.run_config import Rule


@dataclass(frozen=True)
class Selection:
    """The selected weights of one layer.

    `index` holds flat row-major positions, int64, ascending; `threshold` is the smallest
    selected score, None where nothing is selected.
    """

    index: NDArray[np.int64]
    threshold: float | None


def select(scores: NDArray[np.float32], rule: Rule, tau: float) -> Selection:
    """Select a layer's weights of highest score.

    `score_mass` sorts ascending and cumulates score / sum; those whose cumulated mass exceeds
    tau are selected. `top_share` selects the n - floor(tau n) highest. Among equal scores the
    one at the later row-major position counts as the higher.

    Source: UWM paper, Eq. 11.

    Args:
        scores: [out, in] float32; of positive sum for `score_mass`.
        rule: which of the two.
        tau: share of the mass, or of the weights, that is left alone; 0 to 1, exclusive.

    Returns:
        The selection.

    Raises:
        NotSelectable: a score is NaN or infinite; for `score_mass`, their sum is not positive.
    """
    flat = np.ascontiguousarray(scores, dtype=np.float32).reshape(-1)
    finite = np.isfinite(flat)
    if not finite.all():
        raise NotSelectable(f"{int((~finite).sum())} of {flat.size} scores are NaN or infinite")
    n_left = _left_by_mass(flat, tau) if rule == "score_mass" else _left_by_share(flat.size, tau)
    if n_left == flat.size:
        return Selection(np.empty(0, np.int64), None)
    threshold = np.partition(flat, n_left)[n_left]
    index = np.flatnonzero(flat >= threshold)
    n_ties_left = n_left - int(np.count_nonzero(flat < threshold))
    if n_ties_left:
        ties = np.flatnonzero(flat[index] == threshold)
        index = np.delete(index, ties[:n_ties_left])
    return Selection(index, float(threshold))


def _left_by_mass(flat: NDArray[np.float32], tau: float) -> int:
    total = _sum(flat)
    if total <= 0:
        raise NotSelectable(f"score_mass needs a positive sum of scores, got {total:g}; use rule top_share")
    # Negative scores lower the cumulated mass first, which then only rises: the selected ones are still the highest.
    # Few weights hold the last of the mass: only so many of the highest are sorted as are sure to hold it.
    n_top = max(1, flat.size // _FIRST_GUESS)
    while True:
        top = np.partition(flat, flat.size - n_top)[flat.size - n_top :] if n_top < flat.size else flat
        below = total - _sum(top) if n_top < flat.size else 0.0
        if below <= tau * total * _SURELY:
            break
        n_top = min(flat.size, 4 * n_top)
    mass = below + np.cumsum(np.sort(top), dtype=np.float64)
    return flat.size - n_top + bisect_right(mass, tau, key=lambda cumulated: cumulated / mass[-1])


def _sum(values: NDArray[np.float32]) -> float:
    # numpy adds pairwise, in an order that depends on the length alone.
    return float(values.sum(dtype=np.float64))


def _left_by_share(n: int, tau: float) -> int:
    # In decimal, as written: floor(0.29 * 100) is 29, in binary floating point it would be 28.
    return int((Decimal(repr(tau)) * n).to_integral_value(rounding=ROUND_FLOOR))


_FIRST_GUESS = 16
_SURELY = 1 - 1e-9
