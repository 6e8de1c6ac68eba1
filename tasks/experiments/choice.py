"""The best point of a sweep among those that keep given limits."""

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass

from data_specs.choosing import ChooseBy
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


def keeping_points(sweep: Experiment, limits: Sequence[Limit], by: ChooseBy = "estimate") -> list[int]:
    """The positions of the points that keep all limits.

    Args:
        sweep: its points and the original's figures.
        limits: points against the original.
        by: `bound` asks the bound of a difference's 95 % interval on the limit's side, `estimate` the difference itself.

    Raises:
        SpecError: a limit is on a metric that was not measured.
        DataError: a point lacks a figure that the choice needs.
    """
    _require_figures(sweep, limits, by)
    return [
        position
        for position, point in enumerate(sweep.points)
        if all(limit.kept(_moved(sweep, point, limit, by)) for limit in limits)
    ]


def choose_point(sweep: Experiment, limits: Sequence[Limit], by: ChooseBy = "estimate") -> int | None:
    """The point with the best GS among those that keep all limits; see `keeping_points`.

    Of equal GS the larger tau wins, for it edits fewer weights, and with a tau for each encoder the
    point that edits fewer; then the alpha nearest to 1, which changes them least; then the earlier point.

    Returns:
        The position in `sweep.points`; None where no point keeps the limits.
    """
    keeping = keeping_points(sweep, limits, by)
    return max(keeping, key=lambda position: _merit(sweep.points[position]), default=None)


def _require_figures(sweep: Experiment, limits: Sequence[Limit], by: ChooseBy) -> None:
    for limit in limits:
        if limit.metric not in sweep.original:
            more = "; add evaluation.zero_shot data sets" if limit.metric == ZERO_SHOT else ""
            raise SpecError(
                f"limit {limit}: {limit.metric} was not measured, only {', '.join(sweep.columns)}{more} or leave this limit out"
            )
    limited = {limit.metric for limit in limits}
    for position, point in enumerate(sweep.points):
        missing = sorted({_TARGET, *limited} - set(point.values))
        missing += sorted(f"the interval of {name}'s difference" for name in limited - set(point.differences)) * (
            by == "bound"
        )
        if missing:
            raise DataError(
                f"point {position} of sweep {sweep.name} ({point.name}) has no figure for {', '.join(missing)}; expected those"
                " of the original"
            )


def _moved(sweep: Experiment, point: Row, limit: Limit, by: ChooseBy) -> float:
    if by == "estimate":
        return point.values[limit.metric] - sweep.original[limit.metric]
    low, high = point.differences[limit.metric]
    return low if limit.relation == ">=" else high


def _merit(point: Row) -> tuple[float, float, float]:
    few = point.at("tau") if "tau" in point.axes else -float(point.n_selected or 0)
    return find_metric(_TARGET).gain(point.values[_TARGET]), few, -abs(point.at("alpha") - 1)
