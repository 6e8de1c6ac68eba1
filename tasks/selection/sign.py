"""The sign filter: which weights may be edited at all, and the selection among them."""

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import DataError
from data_specs.run_config import Rule
from data_specs.sign_filter import Sign
from tasks.selection.rules import Selection, select


def kept_by_sign(weights: NDArray[np.float32], slopes: NDArray[np.float32], sign: Sign) -> NDArray[np.bool_]:
    """The weights that a filter leaves.

    An edit W <- alpha W with alpha below 1 changes a loss by (alpha - 1) W dL/dW to first order, so that
    it lowers the loss where W dL/dW is positive.

    Args:
        weights: W [out, in].
        slopes: dL / dW [out, in], in any unit.
        sign: `loss` keeps W dL/dW > 0, `against` W dL/dW < 0, `none` all.

    Returns:
        [out, in]; True is kept. Where W or its slope is 0, neither filter keeps.

    Raises:
        DataError: the shapes differ.
    """
    if weights.shape != slopes.shape:
        raise DataError(f"slopes are {list(slopes.shape)}, expected those of the weights, {list(weights.shape)}")
    if sign == "none":
        return np.ones(weights.shape, np.bool_)
    # Of signs: a product of small numbers could vanish.
    direction = np.sign(weights) * np.sign(slopes)
    return direction > 0 if sign == "loss" else direction < 0


def select_kept(scores: NDArray[np.float32], rule: Rule, tau: float, kept: NDArray[np.bool_]) -> Selection:
    """Select as many weights as the rule does without a filter, the highest of those that the filter leaves.

    tau so counts over all weights (or the whole mass) of the layer: a filter changes which weights are edited and
    never how many, so that edits with and without it are compared at equal size. Where fewer are left, all of
    them are selected.

    Args:
        scores: [out, in] float32; of positive sum for `score_mass`.
        rule: as in `select`.
        tau: as in `select`.
        kept: [out, in]; only these may be selected.

    Returns:
        The selection. Among equal scores the one at the later row-major position counts as the higher.

    Raises:
        NotSelectable: as in `select`.
    """
    n_asked = len(select(scores, rule, tau).index)
    candidates = np.flatnonzero(kept)
    n = min(n_asked, len(candidates))
    if n == 0:
        return Selection(np.empty(0, np.int64), None)
    values = np.ascontiguousarray(scores, dtype=np.float32).reshape(-1)[candidates]
    threshold = np.partition(values, len(values) - n)[len(values) - n]
    above, ties = np.flatnonzero(values > threshold), np.flatnonzero(values == threshold)
    chosen = np.sort(np.concatenate([above, ties[len(ties) - (n - len(above)) :]]))
    return Selection(candidates[chosen].astype(np.int64), float(threshold))
