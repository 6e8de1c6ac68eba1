"""A history as lines of text, a plot among them, and as CSV."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import groupby
from math import isfinite

from data_specs.caption_metrics import find_figure
from data_specs.figures import Interval
from data_specs.history import WITHOUT_RESULT, History, HistoryRow
from data_specs.metrics import Metric, ordered_metrics
from data_specs.moments import shown_moment
from data_specs.wording import printable

_WIDTH = 24  # of the plot, in characters
_VALUE, _DOT, _BAR = "●", "·", "─"
_INDENT = " " * 18
_STATED = ("at", "state", "watch", "model", "set", "n_pairs", "outcome")
_LAST = ("sentence", "evaluation", "baseline_evaluation", "night", "run", "report")


def history_lines(found: History, metrics: Sequence[str]) -> Iterator[str]:
    """A block a model, set and metric, the oldest night first: figure, interval, the two drawn to scale, gates, changes.

    Args:
        found: what is shown.
        metrics: which figures.
    """
    for (watch, model, on), rows in found.series().items():
        measured = {name for row in rows for name in row.figures}
        shown = [name for name in metrics if name in measured] or metrics[:1]
        for metric in map(find_figure, shown):
            yield ""
            of_watch = f", watch {watch}" if watch else ""
            yield printable(f"{model} @ {on}{of_watch}: {metric.name}, {metric.unit}")
            yield from _block(rows, metric)
        for item in found.slides:
            if (item.watch, item.model, item.set) == (watch, model, on):
                yield printable(f"slow slide: {item.slide.sentence}")
    whole = [row for row in found.rows if row.model is None and row.watch not in {key[0] for key in found.series()}]
    for watch, own in groupby(whole, lambda row: row.watch):
        yield ""
        yield printable(f"watch {watch}, of which nothing was measured")
        yield from (line for line, _ in _together([*own]))


def history_csv(found: History) -> str:
    """A row a model, set and time, and a row a night without a result; all figures with their intervals."""
    metrics = ordered_metrics(name for row in found.rows for name in row.figures)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    of_metrics = [f"{metric}{part}" for metric in metrics for part in ("", "_low", "_high")]
    told = ("shards_added", "shards_removed", "changes", "gates")
    writer.writerow([*_STATED, *told, *_LAST, *of_metrics])
    for row in found.rows:
        lists = [
            len(row.shards_added),
            len(row.shards_removed),
            "; ".join(row.changes),
            "; ".join(f"{gate.gate.name}: {gate.outcome}" for gate in row.gates),
        ]
        stated, last = ([_cell(getattr(row, name)) for name in names] for names in (_STATED, _LAST))
        figures = [
            value for metric in metrics for value in (row.figures.get(metric, ""), *row.intervals.get(metric, ("", "")))
        ]
        writer.writerow([*stated, *lists, *last, *figures])
    return text.getvalue()


def _cell(value: object) -> object:
    return "" if value is None else value


def _block(rows: Sequence[HistoryRow], metric: Metric) -> Iterator[str]:
    edges = [
        edge
        for row in rows
        if metric.name in row.figures
        for edge in (row.figures[metric.name], *row.intervals.get(metric.name, ()))
        if isfinite(edge)
    ]
    span = (min(edges), max(edges)) if edges else (0.0, 1.0)
    low, high = (metric.shown(edge) for edge in span)
    yield f"{'begun, UTC':16}  {metric.name[:7]:>7}  {'95 %':14}  {low}{high:>{_WIDTH - len(low)}}  gates"
    for line, row in _together(rows, metric, span):
        yield line
        if row is not None:
            yield from (printable(f"{_INDENT}{change}") for change in row.all_changes)


def _together(
    rows: Sequence[HistoryRow], metric: Metric | None = None, span: Interval = (0.0, 1.0)
) -> Iterator[tuple[str, HistoryRow | None]]:
    """A line a row, with the row where it was measured; nights that never fired one after another in one line."""
    for (state, sentence), group in groupby(rows, lambda row: (row.state, row.sentence)):
        own = [*group]
        if state == "missed" and len(own) > 1:
            times = f"{shown_moment(own[0].at)} to {shown_moment(own[-1].at)}"
            yield printable(f"{times}: {len(own)} nights {WITHOUT_RESULT[state]}: {sentence}"), None
            continue
        for row in own:
            if metric is None or state != "measured":
                why = f": {sentence}" if sentence else ""
                yield printable(f"{shown_moment(row.at)}  {WITHOUT_RESULT.get(state, state)}{why}"), None
            else:
                yield _measured(row, metric, span), row


def _measured(row: HistoryRow, metric: Metric, span: Interval) -> str:
    value, interval = row.figures.get(metric.name), row.intervals.get(metric.name)
    if value is None or not isfinite(value):
        return f"{shown_moment(row.at)}  {'–':>7}  not measured"
    between = f"[{metric.shown(interval[0])}, {metric.shown(interval[1])}]" if interval else ""
    gates = (row.outcome or "").replace("_", " ")
    drawn = _drawn(value, interval, span)
    return f"{shown_moment(row.at)}  {metric.shown(value):>7}  {between:14}  {drawn}  {gates}".rstrip()


def _drawn(value: float, interval: Interval | None, span: Interval) -> str:
    """A figure and its interval on a scale."""
    low, high = span

    def place(at: float) -> int:
        return round((at - low) / (high - low) * (_WIDTH - 1)) if high > low else _WIDTH // 2

    cells = [_DOT] * _WIDTH
    if interval is not None:
        first, last = place(interval[0]), place(interval[1])
        cells[first : last + 1] = [_BAR] * (last + 1 - first)
    cells[place(value)] = _VALUE
    return "".join(cells)
