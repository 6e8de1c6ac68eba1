"""A slow slide: what several nights say together that no night says alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_specs.figures import Interval
from data_specs.gate import Gate
from data_specs.metrics import Metric, find_metric
from data_specs.trend import Slide
from tasks.evaluation.gates.certainty import SURE_BELOW, normal_interval, p_from_interval, standard_error
from tasks.evaluation.gates.contrast import weighted_outcomes
from tasks.evaluation.gates.examination import examine
from tasks.evaluation.gates.sentences import slid

# The latest so many nights: a slide may have begun lately or long ago.
SPANS = (4, 8, 16, 32)
# A night with more of it than this is a fall, which its own gate tells.
_MOST_OF_IT = 2 / 3


@dataclass(frozen=True)
class TrendPoint:
    """A figure of one night."""

    night: str  # when, as it is told
    value: float
    interval: Interval  # 95 %
    n: int  # pairs, captions or images
    evaluation: Path | None = None  # folder of the artifact, where it is at hand


@dataclass(frozen=True)
class _Line:
    """A straight line through the nights of a span."""

    points: Sequence[TrendPoint]
    values: Sequence[float]  # a night each, paired ones of the rows that all nights have
    slope: float
    slope_interval: Interval
    first: float
    last: float
    interval: Interval  # of last less first
    n: int
    paired: bool

    @property
    def p(self) -> float:
        return p_from_interval(self.slope, self.slope_interval, 0.0)


def slide(metric: str, points: Sequence[TrendPoint]) -> Slide | None:
    """The slide that a figure is on, if it surely is on one.

    Asked of the latest 4, 8, 16 and 32 nights. Sure is what neither the slope nor the change from first to last leaves
    open at 95 %, the slope's p times the number of spans. Where the evaluations are at hand, each pair has a slope of its
    own over the nights, and the figure's is their mean (a linear contrast of paired outcomes); else, and where not all
    nights have comparable pairs, each night is a sample of its own, which sees less where the pairs are in truth the same.

    Args:
        metric: name of the figure.
        points: nights of one model on one set with such a figure, the oldest first.

    Returns:
        The surest one; None where the figure does not surely get worse, or most of the way in one night.
    """
    row = find_metric(metric)
    spans = [points[-n:] for n in SPANS if n <= len(points)]
    lines = [line for span in spans if (line := _line(row, span)) is not None and _is_slide(row, line)]
    if not lines:
        return None
    line = min(lines, key=lambda found: (found.p, -len(found.points)))
    p = line.p * len(spans)
    return _told(metric, line, p) if p < SURE_BELOW else None


def _line(metric: Metric, points: Sequence[TrendPoint]) -> _Line | None:
    figures = [figure for point in points for figure in (point.value, *point.interval)]
    if not all(math.isfinite(figure) for figure in figures):
        return None
    return _paired_line(metric, points) or _line_of_samples(points)


def _paired_line(metric: Metric, points: Sequence[TrendPoint]) -> _Line | None:
    """By the same pairs in all nights; None where there are none to be compared."""
    folders = [point.evaluation for point in points if point.evaluation is not None]
    if len(folders) < len(points) or not all(folder.is_dir() for folder in folders):
        return None
    # An evaluation of several nights is read once.
    weights: dict[Path, float] = {}
    for folder, weight in zip(folders, _weights(len(points)), strict=True):
        weights[folder] = weights.get(folder, 0.0) + weight
    found = weighted_outcomes(metric, weights)
    if found is None:
        return None
    gate = Gate(metric=metric.name, rule="min_change", limit=0)
    (ends,) = examine([gate], folders[-1], folders[0], 0)
    if ends.interval is None or ends.baseline is None or ends.value is None:
        return None
    return _Line(
        points=points,
        values=[found.values[folder] for folder in folders],
        slope=found.mean,
        slope_interval=normal_interval(found.mean, found.standard_error),
        first=ends.baseline,
        last=ends.value,
        interval=ends.interval,
        n=ends.n,
        paired=True,
    )


def _line_of_samples(points: Sequence[TrendPoint]) -> _Line:
    """By each night's own interval, as if no two nights had a pair in common."""
    errors = [standard_error(point.interval) for point in points]
    weights = _weights(len(points))
    slope = sum(weight * point.value for weight, point in zip(weights, points, strict=True))
    error = math.hypot(*(weight * own for weight, own in zip(weights, errors, strict=True)))
    first, last = points[0].value, points[-1].value
    return _Line(
        points=points,
        values=[point.value for point in points],
        slope=slope,
        slope_interval=normal_interval(slope, error),
        first=first,
        last=last,
        interval=normal_interval(last - first, math.hypot(errors[0], errors[-1])),
        n=points[-1].n,
        paired=False,
    )


def _is_slide(metric: Metric, line: _Line) -> bool:
    if any(metric.gain(bound) >= 0 for bound in (*line.slope_interval, *line.interval)):
        return False
    steps = [metric.gain(after - before) for before, after in zip(line.values[:-1], line.values[1:], strict=True)]
    return -min(steps) <= _MOST_OF_IT * -sum(steps)


def _told(metric: str, line: _Line, p: float) -> Slide:
    slide_found = Slide(
        metric=metric,
        since=line.points[0].night,
        until=line.points[-1].night,
        n_nights=len(line.points),
        n=line.n,
        first=line.first,
        last=line.last,
        change=line.last - line.first,
        interval=line.interval,
        slope=line.slope,
        slope_interval=line.slope_interval,
        p=p,
        paired=line.paired,
        sentence="",
    )
    return slide_found.model_copy(update={"sentence": slid(slide_found)})


def _weights(n: int) -> list[float]:
    """Of each of n nights in the slope of the straight line of least squares through them."""
    middle = (n - 1) / 2
    spread = sum((night - middle) ** 2 for night in range(n))
    return [(night - middle) / spread for night in range(n)]
