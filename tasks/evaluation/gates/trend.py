"""A slow slide: what several nights say together that no night says alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from data_specs.caption_metrics import find_figure
from data_specs.figures import Interval
from data_specs.gate import Gate
from data_specs.metrics import Metric
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
    interval: Interval  # 95 %, of the slope
    paired: bool

    @property
    def p(self) -> float:
        return p_from_interval(self.slope, self.interval, 0.0)


@dataclass(frozen=True)
class _Ends:
    """The first and the last night of a span."""

    first: float
    last: float
    interval: Interval  # 95 %, of last less first
    n: int


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
    row = find_figure(metric)
    spans = [points[-n:] for n in SPANS if n <= len(points)]
    found = []
    for span in spans:
        line = _line(row, span)
        if line is not None and _is_worse(row, line.interval) and _is_gradual(row, line.values):
            ends = _ends(row, line)
            if ends is not None and _is_worse(row, ends.interval):
                found.append((line, ends))
    if not found:
        return None
    line, ends = min(found, key=lambda item: (item[0].p, -len(item[0].points)))
    p = line.p * len(spans)
    return _told(metric, line, ends, p) if p < SURE_BELOW else None


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
    values = [found.values[folder] for folder in folders]
    return _Line(points, values, found.mean, normal_interval(found.mean, found.standard_error), paired=True)


def _line_of_samples(points: Sequence[TrendPoint]) -> _Line:
    """By each night's own interval, as if no two nights had a pair in common."""
    weights, values = _weights(len(points)), [point.value for point in points]
    slope = sum(weight * value for weight, value in zip(weights, values, strict=True))
    errors = (weight * standard_error(point.interval) for weight, point in zip(weights, points, strict=True))
    return _Line(points, values, slope, normal_interval(slope, math.hypot(*errors)), paired=False)


def _ends(metric: Metric, line: _Line) -> _Ends | None:
    first, last = line.points[0], line.points[-1]
    if not line.paired or first.evaluation is None or last.evaluation is None:
        error = math.hypot(standard_error(first.interval), standard_error(last.interval))
        return _Ends(first.value, last.value, normal_interval(last.value - first.value, error), last.n)
    gate = Gate(metric=metric.name, rule="min_change", limit=0)
    (found,) = examine([gate], last.evaluation, first.evaluation, 0)
    if found.interval is None or found.baseline is None or found.value is None:
        return None
    return _Ends(found.baseline, found.value, found.interval, found.n)


def _is_worse(metric: Metric, interval: Interval) -> bool:
    return all(metric.gain(bound) < 0 for bound in interval)


def _is_gradual(metric: Metric, values: Sequence[float]) -> bool:
    steps = [metric.gain(after - before) for before, after in pairwise(values)]
    return -min(steps) <= _MOST_OF_IT * -sum(steps)


def _told(metric: str, line: _Line, ends: _Ends, p: float) -> Slide:
    found = Slide(
        metric=metric,
        since=line.points[0].night,
        until=line.points[-1].night,
        n_nights=len(line.points),
        n=ends.n,
        first=ends.first,
        last=ends.last,
        change=ends.last - ends.first,
        interval=ends.interval,
        slope=line.slope,
        slope_interval=line.interval,
        p=p,
        paired=line.paired,
        sentence="",
    )
    return found.model_copy(update={"sentence": slid(found)})


def _weights(n: int) -> list[float]:
    """Of each of n nights in the slope of the straight line of least squares through them."""
    middle = (n - 1) / 2
    spread = sum((night - middle) ** 2 for night in range(n))
    return [(night - middle) / spread for night in range(n)]
