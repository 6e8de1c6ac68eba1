"""How surely a figure, or its change on the same rows, is not the limit that a gate holds it against."""

from dataclasses import replace

from data_specs.figures import Interval
from data_specs.metrics import Metric
from tasks.evaluation.gates.certainty import few_changed_p, p_from_interval
from tasks.evaluation.gates.finding import Finding
from tasks.evaluation.gates.sides import is_of_one_set
from tasks.evaluation.intervals import mcnemar_p


def tested_figure(found: Finding, metric: Metric, value: float, interval: Interval) -> Finding:
    """The same with the p that the figure is the limit: exact of one share, else from its interval."""
    if is_of_one_set(metric):
        return replace(found, p=_binomial_p(value, found.n, found.gate.limit), p_from="binomial")
    return replace(found, p=p_from_interval(value, interval, found.gate.limit), p_from="interval")


def tested_change(found: Finding, metric: Metric) -> Finding:
    """The same with the p that the change is the limit: McNemar's, or exact of few that changed, else from its interval.

    A finding without a change, its interval or counts of what changed has none.
    """
    limit = found.gate.limit
    if found.change is None or found.interval is None or found.n_gained is None or found.n_lost is None:
        return found
    if limit == 0 and is_of_one_set(metric):
        return replace(found, p=mcnemar_p(found.n_gained, found.n_lost), p_from="mcnemar")
    if is_of_one_set(metric) and abs(limit) < 100:
        exact = few_changed_p(found.n, found.n_gained, found.n_lost, limit)
        if exact is not None:
            return replace(found, p=exact, p_from="trinomial")
    return replace(found, p=p_from_interval(found.change, found.interval, limit), p_from="interval")


def _binomial_p(value: float, n: int, limit: float) -> float:
    """Exact two-sided p that a share, in percent, is the limit; 0 where no share can be it."""
    from scipy.stats import binomtest

    if not 0 <= limit <= 100:
        return 0.0
    return float(binomtest(round(value * n / 100), n, limit / 100).pvalue)
