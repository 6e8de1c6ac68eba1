"""Figures of captions as a table of texts: a row a figure, a column a model, and what each edit changed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_specs.caption_metrics import find_caption_metric
from data_specs.caption_rows import CAPTION_CHANGES_FILE, CAPTION_FIGURES_FILE
from data_specs.metrics import Metric
from data_specs.run_result import RunResult

_EVALUATION, _DIFFERENCES = "caption_evaluation.", "caption_differences."
_Rows = dict[str, dict[str, Any]]  # by metric


def caption_rows(result: RunResult, *, scores: bool = False) -> dict[str, Any] | None:
    """The captions of a run: `caption`, `heads` and `rows`; None where it made none.

    Args:
        result: of the run.
        scores: show means, such as scores against references, beside shares.
    """
    figures = dict(_tables(result, _EVALUATION, CAPTION_FIGURES_FILE))
    if not figures:
        return None
    changes = dict(_tables(result, _DIFFERENCES, CAPTION_CHANGES_FILE))
    heads = ["captions"]
    for model in figures:
        heads += [model, f"− {next(iter(figures))}"] if model in changes else [model]
    rows = []
    for name in dict.fromkeys(name for found in figures.values() for name in found):
        metric = find_caption_metric(name)
        if scores or metric.kind == "share":
            rows.append(
                [name, *(cell for model in figures for cell in _cells(metric, figures[model], changes.get(model)))]
            )
    n_captions = max(found["n"] for rows_of in figures.values() for found in rows_of.values())
    return {
        "caption": f"captions of {n_captions:,} pictures a side; brackets: 95 % interval of the difference on the same pictures",
        "heads": heads,
        "rows": rows,
    }


def _tables(result: RunResult, beginning: str, file: str) -> Iterator[tuple[str, _Rows]]:
    for role, place in result.artifacts.items():
        if role.startswith(beginning):
            rows = pq.read_table(Path(place.path) / file).to_pylist()
            yield role.removeprefix(beginning), {row["metric"]: row for row in rows}


def _cells(metric: Metric, figures: _Rows, changes: _Rows | None) -> Iterator[str]:
    found = figures.get(metric.name)
    yield "" if found is None else metric.shown(found["value"])
    if changes is not None:
        change = changes.get(metric.name)
        yield "" if change is None else _change(metric, change)


def _change(metric: Metric, change: dict[str, Any]) -> str:
    told = metric.shown(change["difference"], sign="+")
    if change["low"] is None:
        return told
    return f"{told} [{metric.shown(change['low'], sign='+')}, {metric.shown(change['high'], sign='+')}]"
