"""The two rules that turn scores into a set of weights. Equal scores: the later position is selected first."""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

import numpy as np
from numpy.typing import NDArray

from data_specs.run_config import Rule
from tasks.selection.ranking import Ranking


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
    ranking = Ranking(scores)
    n_left, threshold = selected_from(ranking, rule, tau)
    return select_above(scores, None if threshold is None else float(threshold), ranking.size - n_left)


def select_above(scores: NDArray[np.float32], threshold: float | None, n_selected: int) -> Selection:
    """The selection that a rule has led to, of which all but the positions is known.

    Args:
        scores: [out, in] float32.
        threshold: the smallest selected score; None where none is selected.
        n_selected: how many are selected; of those that equal the threshold, the ones at later positions.
    """
    if threshold is None:
        return Selection(np.empty(0, np.int64), None)
    flat = np.ascontiguousarray(scores, dtype=np.float32).reshape(-1)
    index = np.flatnonzero(flat >= np.float32(threshold))
    n_ties_left = len(index) - n_selected
    if n_ties_left:
        ties = np.flatnonzero(flat[index] == np.float32(threshold))
        index = np.delete(index, ties[:n_ties_left])
    return Selection(index, threshold)


def selected_from(ranking: Ranking, rule: Rule, tau: float) -> tuple[int, np.float32 | None]:
    """How many of the lowest scores are left alone, and the smallest selected score; None where none is selected.

    Raises:
        NotSelectable: for `score_mass`, the sum of scores is not positive.
    """
    n_left = ranking.left_by_mass(tau) if rule == "score_mass" else _left_by_share(ranking.size, tau)
    return n_left, ranking.at(n_left) if n_left < ranking.size else None


def _left_by_share(n: int, tau: float) -> int:
    # In decimal, as written: floor(0.29 * 100) is 29, in binary floating point it would be 28.
    return int((Decimal(repr(tau)) * n).to_integral_value(rounding=ROUND_FLOOR))
