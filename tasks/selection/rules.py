"""The two rules that turn scores into a set of weights. Equal scores: the later position is selected first."""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import DataError
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
        scores: [out, in] float32; not negative for `score_mass`.
        rule: which of the two.
        tau: share of the mass, or of the weights, that is left alone; 0 to 1, exclusive.

    Returns:
        The selection.

    Raises:
        DataError: a score is NaN or infinite; for `score_mass`, one is negative or all are zero.
    """
    flat = np.ascontiguousarray(scores, dtype=np.float32).reshape(-1)
    ascending = np.sort(flat)
    # NaN and infinity sort to the ends.
    if not (np.isfinite(ascending[0]) and np.isfinite(ascending[-1])):
        raise DataError(f"{int((~np.isfinite(flat)).sum())} of {flat.size} scores are NaN or infinite")
    n_left = _left_by_mass(ascending, tau) if rule == "score_mass" else _left_by_share(flat.size, tau)
    if n_left == flat.size:
        return Selection(np.empty(0, np.int64), None)
    threshold = ascending[n_left]
    n_ties_left = n_left - int(np.searchsorted(ascending, threshold, side="left"))
    index = np.flatnonzero(flat >= threshold)
    if n_ties_left:
        ties = np.flatnonzero(flat[index] == threshold)
        index = np.delete(index, ties[:n_ties_left])
    return Selection(index, float(threshold))


def _left_by_mass(ascending: NDArray[np.float32], tau: float) -> int:
    if ascending[0] < 0:
        raise DataError(f"score_mass needs scores of at least 0, the smallest is {ascending[0]:g}; use rule top_share")
    mass = np.cumsum(ascending, dtype=np.float64)
    if mass[-1] == 0:
        raise DataError("score_mass needs a positive sum of scores, all are 0; use rule top_share")
    mass /= mass[-1]
    return int(np.searchsorted(mass, tau, side="right"))


def _left_by_share(n: int, tau: float) -> int:
    # In decimal, as written: floor(0.29 * 100) is 29, in binary floating point it would be 28.
    return int((Decimal(repr(tau)) * n).to_integral_value(rounding=ROUND_FLOOR))
