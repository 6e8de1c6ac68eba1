"""A figure over time as a drawing: intervals, what gates said, what changed, and nights without a result."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite

from data_specs.caption_metrics import find_figure
from data_specs.history import WITHOUT_RESULT, History, HistoryRow, outcome_of
from data_specs.metrics import Metric
from data_specs.moments import moment_of, shown_moment
from data_specs.night import NightOutcome
from tasks.reporting.pages import render_watch_template
from tasks.reporting.plot import Bounds, Panel, Plot, room, ticks

# Older nights stand in `uwm history` alone.
MOST_NIGHTS = 120
_WIDTH, _HEIGHT = 460, 210
_DAY = 86_400.0
_LOOKS: dict[NightOutcome | None, str] = {
    None: "m1",
    "passed": "gained",
    "unsure": "m2",
    "not_comparable": "m0",
    "failed": "lost",
}
_KEY = [("gained", "its gates passed"), ("lost", "one failed"), ("m2", "unsure"), ("m0", "not comparable"), ("m1", "no gate looks at it")]  # fmt: skip


def history_svg(found: History, metrics: Sequence[str]) -> str:
    """A file of its own, as a browser shows it, with a panel a model, set and metric; of nothing an empty drawing."""
    plot = history_plot("History", [*named_series(found).items()], metrics)
    return render_watch_template("history.svg", plot=plot, height=sum(panel.height for panel in plot.panels))


def named_series(found: History) -> dict[str, list[HistoryRow]]:
    """The series of a history by a name for people; the watch is in it where there are several."""
    series = found.series()
    several = len({watch for watch, _, _ in series}) > 1
    return {
        f"{model} @ {on}{f' ({watch})' if several and watch else ''}": rows
        for (watch, model, on), rows in series.items()
    }


def history_plot(
    title: str,
    series: Sequence[tuple[str, Sequence[HistoryRow]]],
    metrics: Sequence[str],
    most: int = MOST_NIGHTS,
) -> Plot:
    """A panel a series and metric.

    Args:
        title: of the plot.
        series: each with its name; rows the oldest first.
        metrics: which figures; a series without one of them has no panel of it.
        most: nights of each that are drawn, the newest.
    """
    panels = [
        panel
        for name, rows in series
        for metric in metrics
        if (panel := history_panel(name, rows[-most:], find_figure(metric))) is not None
    ]
    return Plot(
        title=title,
        panels=panels,
        caption=(
            "Lines through a point: 95 % interval. The dashed line is the baseline on the same pairs. ▲ at the foot: shards"
            " or anything else changed; ×: a night without a result. A pointer over a mark says what it was."
        ),
        key=[*_KEY, ("missed", "no result")],
    )


def history_panel(name: str, rows: Sequence[HistoryRow], metric: Metric) -> Panel | None:
    """One figure over time; None where it was never measured.

    Args:
        name: of the model and the set.
        rows: the oldest first.
        metric: which figure.
    """
    points = [(_days(row.at), row) for row in rows if isfinite(row.figures.get(metric.name, float("nan")))]
    if not points:
        return None
    baseline = [(at, value) for at, row in points if (value := _baseline(row, metric.name)) is not None]
    edges = [edge for _, row in points for edge in (row.figures[metric.name], *row.intervals.get(metric.name, ()))]
    days = [_days(row.at) for row in rows]
    panel = Panel(
        f"{metric.name} of {name} in {len(points)} nights",
        (min(days) - 0.5, max(days) + 0.5),
        room([*edges, *(value for _, value in baseline)]),
        _HEIGHT,
        title=f"{name}: {metric.name}",
        width=_WIDTH,
    )
    _axes(panel, metric)
    if len(baseline) > 1:
        panel.path("baseline", baseline)
    panel.path("over-time", [(at, row.figures[metric.name]) for at, row in points])
    for at, row in points:
        _point(panel, at, row, metric)
    for row in rows:
        _mark(panel, row)
    return panel


def _days(moment: str) -> float:
    return moment_of(moment).timestamp() / _DAY


def _baseline(row: HistoryRow, metric: str) -> float | None:
    own = (gate.baseline for gate in row.gates if gate.gate.metric == metric and gate.gate.tag is None)
    return next((value for value in own if value is not None and isfinite(value)), None)


def _axes(panel: Panel, metric: Metric) -> None:
    floor = panel.ys[0]
    panel.across("axis", y=floor)
    for value in ticks(panel.ys):
        panel.across("grid", y=value)
        panel.words(f"{value:g}", panel.xs[0], value, anchor="end", look="tick", shift=(-5, 4))
    for day in _days_told(panel.xs):
        said = datetime.fromtimestamp(day * _DAY, UTC).strftime("%Y-%m-%d")
        panel.words(said, day, floor, anchor="middle", look="tick", shift=(0, 26))
    # The title's own place in a drawing without axes of numbers.
    panel.words(panel.title, panel.xs[0], panel.ys[1], look="head", shift=(0, -9))


def _days_told(xs: Bounds) -> list[float]:
    """Where a date stands: at about four beginnings of days, none that would be cut; else in the middle."""
    low, high = xs
    step = max(1, round((high - low) / 4))
    edge = (high - low) * 0.08
    return [*range(int(low + edge) + 1, int(high - edge) + 1, step)] or [(low + high) / 2]


def _point(panel: Panel, at: float, row: HistoryRow, metric: Metric) -> None:
    value, interval = row.figures[metric.name], row.intervals.get(metric.name)
    if interval is not None:
        panel.line("whisker", (at, interval[0]), (at, interval[1]))
    between = f" [{metric.shown(interval[0])}, {metric.shown(interval[1])}]" if interval else ""
    judged = outcome_of(gate.outcome for gate in row.gates if gate.gate.metric == metric.name)
    outcome = f", {judged.replace('_', ' ')}" if judged else ""
    panel.dot(_LOOKS[judged], at, value, 3.5, f"{shown_moment(row.at)}: {metric.shown(value)}{between}{outcome}")


def _mark(panel: Panel, row: HistoryRow) -> None:
    at, floor = _days(row.at), panel.ys[0]
    if row.state != "measured":
        why = f": {row.sentence}" if row.sentence else ""
        panel.dot("missed", at, floor, 3, f"{shown_moment(row.at)}: {WITHOUT_RESULT[row.state]}{why}")
        panel.words("×", at, floor, anchor="middle", look="mark-missed", shift=(0, 12))
    elif row.all_changes:
        panel.dot("changed", at, floor, 3, f"{shown_moment(row.at)}: {'; '.join(row.all_changes)}")
        panel.words("▲", at, floor, anchor="middle", look="mark-changed", shift=(0, 12))
