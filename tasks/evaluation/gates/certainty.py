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
_FEW_CHANGED = 200  # pairs that are gained or lost
_SAME = 1e-9
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


def few_changed_p(n: int, gained: int, lost: int, limit: float) -> float | None:
    """Two-sided p that the truth is the limit, where few pairs changed: from every outcome that may come up.

    Their chances are those of the likeliest truth with this limit for its difference. A normal approximation is good at 0.05,
    but by Holm the p of one gate of many counts far below that, where of few pairs it is too small.

    Source: Storer and Kim 1990, Exact properties of some exact test statistics for comparing two binomial proportions: the
    estimated p; here of Tango's statistic. It is twice that of the nearer side.

    Args:
        n: pairs.
        gained: right in the second model only.
        lost: right in the first model only.
        limit: in points, within 100.

    Returns:
        None where so many change that the normal approximation is as good.
    """
    from scipy.stats import binom

    truth, sizes = np.array([limit / 100]), np.array([n])
    down = float(_share_lost(sizes, np.array([gained]), np.array([lost]), truth)[0])
    up = min(1.0, max(0.0, down + limit / 100))
    if n * (up + down) > _FEW_CHANGED:
        return None
    # What is left out has a chance below 1e-9.
    most = [min(n, math.ceil(n * share + 6 * math.sqrt(n * share) + 12)) for share in (up, down)]
    gains, losses = (found.ravel() for found in np.mgrid[0 : most[0] + 1, 0 : most[1] + 1])
    possible = gains + losses <= n
    gains, losses = gains[possible], losses[possible]
    chances = binom.pmf(gains, n, up) * binom.pmf(losses, n - gains, min(1.0, down / (1 - up)) if up < 1 else 0.0)
    scores = _scores(sizes, gains, losses, truth)
    own = _scores(sizes, np.array([gained]), np.array([lost]), truth)[0]
    nearer = min(chances[scores <= own + _SAME].sum(), chances[scores >= own - _SAME].sum())
    return float(min(1.0, 2 * nearer))


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
    share = _share_lost(sizes, gained, lost, difference)
    variance = np.maximum(sizes * (2 * share + difference * (1 - difference)), np.finfo(float).tiny)
    statistic: ScoreBounds = (gained - lost - sizes * difference) / np.sqrt(variance)
    return statistic


def _share_lost(sizes: Counts, gained: Counts, lost: Counts, difference: ScoreBounds) -> ScoreBounds:
    """The likeliest share that is lost, of those that this difference allows."""
    half = (2 * sizes - gained + lost) * difference - gained - lost
    root = np.sqrt(np.maximum(half**2 + 8 * sizes * lost * difference * (1 - difference), 0))
    share: ScoreBounds = np.clip((root - half) / (4 * sizes), 0.0, 1.0)
    return share


def _rounded_up(n: int) -> int:
    step: int = 10 ** max(0, len(str(n)) - 2)
    return -(-n // step) * step
