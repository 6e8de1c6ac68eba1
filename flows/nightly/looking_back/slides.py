"""Slow slides in a history: what several nights say of a figure that no night says alone."""

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path

from data_specs.errors import PipelineError
from data_specs.history import History, HistoryRow, NamedSlide
from data_specs.moments import shown_moment

_FEWEST = 4  # nights that can be a slide


def with_slides(root: Path, history: History, metrics: Sequence[str]) -> History:
    """The history with the slides that its models are on.

    Args:
        root: of the store, where evaluations may lie.
        history: nights as they are.
        metrics: figures that are looked at beside those that gates look at.
    """
    found = [
        item
        for (watch, model, on), rows in history.series().items()
        for item in _slides(root, watch, model, on, [row for row in rows if row.state == "measured"], metrics)
    ]
    return history.model_copy(update={"slides": found})


def _slides(
    root: Path, watch: str | None, model: str, on: str, rows: Sequence[HistoryRow], metrics: Sequence[str]
) -> Iterator[NamedSlide]:
    if len(rows) < _FEWEST:
        return
    from tasks.evaluation.gates.trend import TrendPoint, slide  # brings what reads outcomes

    gated = [gate.gate.metric for gate in rows[-1].gates if gate.gate.tag is None]
    for metric in dict.fromkeys([*metrics, *gated]):
        own = [row for row in rows if _is_known(row, metric)]
        points = [
            TrendPoint(
                shown_moment(row.at), row.figures[metric], row.intervals[metric], row.n_pairs or 1, _folder(root, row)
            )
            for row in own
        ]
        try:
            told = slide(metric, points)
        except (PipelineError, OSError):  # an evaluation that cannot be read: each night by its own interval
            told = slide(metric, [TrendPoint(each.night, each.value, each.interval, each.n) for each in points])
        if told is not None:
            yield NamedSlide(watch=watch, model=model, set=on, slide=told)


def _is_known(row: HistoryRow, metric: str) -> bool:
    interval = row.intervals.get(metric)
    return interval is not None and isfinite(row.figures.get(metric, float("nan")))


def _folder(root: Path, row: HistoryRow) -> Path | None:
    return None if row.evaluation is None else root / "evaluation" / row.evaluation
