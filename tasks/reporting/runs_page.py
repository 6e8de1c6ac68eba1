"""Several runs side by side as one page: what each says of itself, and all figures in one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    differences: Mapping[str, Difference] | None = None  # from the first column; None where pairs are not the same
    why_none: str = ""


@dataclass(frozen=True)
class RunsRow:
    """One metric of all columns."""

    metric: Metric
    figures: list[ShownFigure | None]
    differences: list[ShownDifference | None] = field(default_factory=list)


def render_runs(runs: Sequence[ShownRun], columns: Sequence[RunColumn], now: str) -> str:
    """The page.

    Args:
        runs: in the order of their columns.
        columns: the first is what the others are compared with.
        now: ISO 8601, when it is written.
    """
    measured = {name for column in columns for name in column.figures}
    single = sorted(name for name in measured if name.startswith(f"{ZERO_SHOT}.") and name.endswith(".acc1"))
    names = [*(name for name, row in METRICS.items() if row.main and name in measured), *single]
    return render_watch_template(
        "runs.html",
        runs=runs,
        columns=columns,
        rows=[_row(name, columns) for name in names],
        now=shown_moment(now),
        reasons=dict.fromkeys(
            f"{column.run} {column.what}: {column.why_none}" for column in columns[1:] if column.why_none
        ),
    )


def _row(name: str, columns: Sequence[RunColumn]) -> RunsRow:
    figures = [
        ShownFigure(column.figures[name], column.intervals.get(name)) if name in column.figures else None
        for column in columns
    ]
    return RunsRow(find_metric(name), figures, [_difference(name, column) for column in columns])


def _difference(name: str, column: RunColumn) -> ShownDifference | None:
    found = (column.differences or {}).get(name)
    if found is None:
        return None
    gain = find_metric(name).gain(found.difference)
    return ShownDifference(
        found.difference, gain, (found.low, found.high), None if found.p is None else shown_p(found.p)
    )
