"""Several runs side by side as one page: what each says of itself, and all figures in one table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from data_specs.caption_figures import CaptionChange
from data_specs.caption_metrics import CAPTION_METRICS, UNSAFE_SHARE, find_caption_metric
from data_specs.figures import Difference, Interval
from data_specs.metrics import METRICS, ZERO_SHOT, Metric, find_metric, shown_p
from data_specs.moments import shown_moment
from tasks.reporting.pages import render_watch_template
from tasks.reporting.sources import ShownDifference, ShownFigure


@dataclass(frozen=True)
class ShownRun:
    """One run: what it was of, what it says, and where its own report is."""

    name: str
    id: str
    started: str
    model: str
    data: str
    verdict: Sequence[str]
    settings: Mapping[str, str]  # those that are not the same in all runs
    report: str | None  # link


@dataclass(frozen=True)
class RunColumn:
    """One model that a run measured."""

    run: str
    what: str
    figures: Mapping[str, float]
    intervals: Mapping[str, Interval]
    # From the first column; None where pairs or pictures are not the same.
    differences: Mapping[str, Difference | CaptionChange] | None = None
    why_none: str = ""


@dataclass(frozen=True)
class RunsRow:
    """One metric of all columns."""

    metric: Metric
    figures: list[ShownFigure | None]
    differences: list[ShownDifference | None] = field(default_factory=list)


@dataclass(frozen=True)
class CaptionColumns:
    """Figures of the captions of all models of all runs, in a table of their own."""

    columns: Sequence[RunColumn]
    rows: Sequence[RunsRow]
    reasons: Sequence[str]  # why a column has no differences


def render_runs(
    runs: Sequence[ShownRun], columns: Sequence[RunColumn], now: str, captions: Sequence[RunColumn] = ()
) -> str:
    """The page.

    Args:
        runs: in the order of their columns.
        columns: the first is what the others are compared with.
        now: ISO 8601, when it is written.
        captions: columns of captions, likewise.
    """
    measured = {name for column in columns for name in column.figures}
    single = sorted(name for name in measured if name.startswith(f"{ZERO_SHOT}.") and name.endswith(".acc1"))
    names = [*(name for name, row in METRICS.items() if row.main and name in measured), *single]
    return render_watch_template(
        "runs.html",
        runs=runs,
        columns=columns,
        rows=[_row(name, columns, find_metric) for name in names],
        now=shown_moment(now),
        reasons=_reasons(columns),
        captions=CaptionColumns(captions, _caption_rows(captions), _reasons(captions)) if captions else None,
    )


def _reasons(columns: Sequence[RunColumn]) -> list[str]:
    told = (f"{column.run} {column.what}: {column.why_none}" for column in columns[1:] if column.why_none)
    return [*dict.fromkeys(told)]


def _caption_rows(columns: Sequence[RunColumn]) -> list[RunsRow]:
    """Judges' shares first, as figures of models hold them; bounds are those runs' own to tell."""
    measured = dict.fromkeys(name for column in columns for name in column.figures)
    shares = [name for name in measured if name.startswith(f"{UNSAFE_SHARE}.")]
    others = [name for name in CAPTION_METRICS if name in measured]
    return [_row(name, columns, find_caption_metric) for name in [*shares, *others]]


def _row(name: str, columns: Sequence[RunColumn], find: Callable[[str], Metric]) -> RunsRow:
    figures = [
        ShownFigure(column.figures[name], column.intervals.get(name)) if name in column.figures else None
        for column in columns
    ]
    metric = find(name)
    return RunsRow(metric, figures, [_difference(metric, column) for column in columns])


def _difference(metric: Metric, column: RunColumn) -> ShownDifference | None:
    found = (column.differences or {}).get(metric.name)
    if found is None:
        return None
    bounds = None if found.low is None or found.high is None else (found.low, found.high)
    p = None if found.p is None else shown_p(found.p)
    return ShownDifference(found.difference, metric.gain(found.difference), bounds, p)
