"""How sure a change on the same pairs is, where few of them changed, too: score intervals, p and power without resamples.

A gate asks one bound of an interval whether something must be done. The percentile bootstrap of `differences` is rough
there: of 40 pairs of which few changed it is above the truth in up to 15 % of samples, where 2.5 % are promised, since
what happened to be lost by none of them is lost by none of the resamples either. Tango's is in at most 4 %.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from data_specs.figures import Interval
from tasks.evaluation.intervals import LEVEL, Counts, Groups

ScoreBounds = NDArray[np.float64]

POWER = 0.8
SURE_BELOW = 1 - LEVEL
_NORMAL = NormalDist()
_WIDTHS = _NORMAL.inv_cdf((1 + LEVEL) / 2)  # standard errors from the middle of an interval to its bounds
_BISECTIONS = 50  # of [-1, 1]: to the last digits of a float
_MOST_NEEDED = 100_000_000  # pairs of the largest set


def score_bounds(sizes: Counts, gained: Counts, lost: Counts) -> tuple[ScoreBounds, ScoreBounds]:
    """95 % bounds of the difference between two models on the same pairs, of each group by itself.

    A difference is within them unless as uneven a split as this, or a more uneven one, has a chance below 2.5 % on its
    side, by a normal approximation under that difference itself and not under the measured one.

    Source: Tango 1998, Equivalence test and confidence interval for the difference in proportions for the paired-sample design.

    Args:
        sizes: [groups] pairs or images, at least 1.
        gained: [groups] right in the second model only.
        lost: [groups] right in the first model only.

    Returns:
        Lows and highs, [groups] each, shares from -1 to 1 of second less first.
    """
    return _crossing(sizes, gained, lost, _WIDTHS), _crossing(sizes, gained, lost, -_WIDTHS)


def paired_score_interval(groups: Groups, gained: Counts, lost: Counts) -> Interval:
    """95 % interval of the mean over groups of such differences, in points.

    Source: Zou and Donner 2008, Construction of confidence limits about effect measures: the distances of the groups'
    own bounds from what was measured add up as standard errors do. Of one group it is Tango's.
    """
    lows, highs = score_bounds(groups.sizes, gained, lost)
    found = (gained - lost) / groups.sizes
    down, up = (math.sqrt(float(np.sum(distance**2))) / len(found) for distance in (found - lows, highs - found))
    middle = float(found.mean())
    return 100 * max(-1.0, middle - down), 100 * min(1.0, middle + up)


def normal_interval(estimate: float, error: float) -> Interval:
    """95 % interval of a figure of many pairs with this standard error."""
    return estimate - _WIDTHS * error, estimate + _WIDTHS * error


def standard_error(interval: Interval) -> float:
    """The standard error of which a 95 % interval is as wide."""
    low, high = interval
    return (high - low) / 2 / _WIDTHS


def p_from_interval(estimate: float, interval: Interval, limit: float) -> float:
    """Two-sided p that the truth is the limit, from how much wider the interval would have to be to reach it.

    It is below 0.05 exactly where the 95 % interval does not hold the limit.

    Source: Altman and Bland 2011, How to obtain the P value from a confidence interval; each side by its own width.
    """
    distance = _standard_errors(estimate, interval, limit)
    return math.erfc(distance / math.sqrt(2))


def pairs_to_settle(n: int, estimate: float, interval: Interval, limit: float, n_tests: int) -> int | None:
    """About how many pairs would show with a chance of 80 % on which side of the limit the truth is.

    Args:
        n: pairs that were measured.
        estimate: what was measured on them, taken for the truth.
        interval: its 95 % interval, which narrows with the root of the number of pairs.
        limit: what it is held against.
        n_tests: by how many p is multiplied before it counts.

    Returns:
        More than n, rounded up to two digits; None where no set is large enough, as where the estimate is the limit.
    """
    distance = _standard_errors(estimate, interval, limit)
    wanted = _NORMAL.inv_cdf(1 - SURE_BELOW / n_tests / 2) + _NORMAL.inv_cdf(POWER)
    # Written so that NaN is none, too.
    if not distance > wanted * math.sqrt(n / _MOST_NEEDED):
        return None
    return _rounded_up(max(n + 1, math.ceil(n * (wanted / distance) ** 2)))


def detectable_change(interval: Interval) -> float:
    """How far beyond a limit the truth must be for such an interval to show it with a chance of 80 %."""
    return standard_error(interval) * (_WIDTHS + _NORMAL.inv_cdf(POWER))


def _standard_errors(estimate: float, interval: Interval, limit: float) -> float:
    """From the estimate to the limit, by the interval's width on that side."""
    if estimate == limit:
        return 0.0
    width = interval[1] - estimate if limit > estimate else estimate - interval[0]
    # NaN stays NaN.
    return math.inf if width <= 0 else _WIDTHS * abs(limit - estimate) / width


def _crossing(sizes: Counts, gained: Counts, lost: Counts, target: float) -> ScoreBounds:
    """The difference at which the score is the target: it falls from the left to the right."""
    left, right = np.full(len(sizes), -1.0), np.full(len(sizes), 1.0)
    for _ in range(_BISECTIONS):
        middle = (left + right) / 2
        is_left = _scores(sizes, gained, lost, middle) > target
        left, right = np.where(is_left, middle, left), np.where(is_left, right, middle)
    crossing: ScoreBounds = (left + right) / 2
    return crossing


def _scores(sizes: Counts, gained: Counts, lost: Counts, difference: ScoreBounds) -> ScoreBounds:
    """Tango's statistic, standard normal where this is the difference."""
    spread = difference * (1 - difference)
    half = (2 * sizes - gained + lost) * difference - gained - lost
    # The likeliest share that is lost, of those that this difference allows.
    share = (np.sqrt(np.maximum(half**2 + 8 * sizes * lost * spread, 0)) - half) / (4 * sizes)
    variance = np.maximum(sizes * (2 * share + spread), np.finfo(float).tiny)
    statistic: ScoreBounds = (gained - lost - sizes * difference) / np.sqrt(variance)
    return statistic


def _rounded_up(n: int) -> int:
    step: int = 10 ** max(0, len(str(n)) - 2)
    return -(-n // step) * step
