"""The best point of a sweep among those that keep given limits."""

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass

from data_specs.errors import DataError, SpecError
from data_specs.experiment import Experiment, Row
from data_specs.metrics import METRICS, ZERO_SHOT, find_metric
from data_specs.suggestions import did_you_mean
from data_specs.wording import shown

_TARGET = "GS"
_RELATIONS = {">=": operator.ge, "<=": operator.le}
_LIMIT = re.compile(r"(?P<metric>[^<>=\s]+)\s*(?P<relation>>=|<=)\s*(?P<points>[+-]?(\d+(\.\d*)?|\.\d+))")
# A difference of percentages, such as 66.5 - 67.5, is off by a few last digits; no pair weighs this little.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Limit:
    """How far one metric may move, in points against the original model."""

    metric: str
    relation: str
    points: float

    def kept(self, difference: float) -> bool:
        """Whether a difference in points, up to rounding, is within the limit."""
        slack = _ROUNDING if self.relation == ">=" else -_ROUNDING
        return bool(_RELATIONS[self.relation](difference + slack, self.points))

    def __str__(self) -> str:
        """As a person writes it."""
        return f"{self.metric}{self.relation}{self.points:g}"


def parse_limits(text: str) -> list[Limit]:
    """Limits such as `zero_shot>=-2,PS>=-1`: points against the original.

    Raises:
        SpecError: not of this form, or a metric that does not exist.
    """
    limits = []
    for part in text.split(",") if text.strip() else []:
        found = _LIMIT.fullmatch(part.strip())
        if found is None:
            raise SpecError(
                f"limit {shown(part.strip())} makes no sense; write METRIC>=POINTS or METRIC<=POINTS against the original,"
                " separated by commas, such as zero_shot>=-2,PS>=-1"
            )
        if found["metric"] not in METRICS:
            raise SpecError(
                f"limit {shown(part.strip())}: there is no metric {shown(found['metric'])}, only {', '.join(METRICS)}"
                f"{did_you_mean(found['metric'], METRICS)}"
            )
        limits.append(Limit(found["metric"], found["relation"], float(found["points"])))
    return limits


def choose_point(sweep: Experiment, limits: Sequence[Limit]) -> int | None:
    """The point with the best GS among those that keep all limits.

    Of equal GS the larger tau wins, for it edits fewer weights; then the alpha nearest to 1, which
    changes them least; then the earlier point.

    Args:
        sweep: its points and the original's figures.
        limits: points against the original.

    Returns:
        The position in `sweep.points`; None where no point keeps the limits.

    Raises:
        SpecError: a limit is on a metric that was not measured.
        DataError: a point lacks a figure that the choice needs.
    """
    for limit in limits:
        if limit.metric not in sweep.original:
            more = "; add evaluation.zero_shot data sets" if limit.metric == ZERO_SHOT else ""
            raise SpecError(
                f"limit {limit}: {limit.metric} was not measured, only {', '.join(sweep.columns)}{more} or leave this limit out"
            )
    needed = {_TARGET, *(limit.metric for limit in limits)}
    for position, point in enumerate(sweep.points):
        if missing := sorted(needed - set(point.values)):
            raise DataError(
                f"point {position} of sweep {sweep.name} (tau {point.at('tau')}, alpha {point.at('alpha')}) has no figure for"
                f" {', '.join(missing)}; expected those of the original"
            )
    keeping = [
        position
        for position, point in enumerate(sweep.points)
        if all(limit.kept(point.values[limit.metric] - sweep.original[limit.metric]) for limit in limits)
    ]
    return max(keeping, key=lambda position: _merit(sweep.points[position]), default=None)


def _merit(point: Row) -> tuple[float, float, float]:
    return find_metric(_TARGET).gain(point.values[_TARGET]), point.at("tau"), -abs(point.at("alpha") - 1)
