"""Figures of captions as a table of texts: a row a figure, a column a model, and what each edit changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_specs.caption_metrics import find_caption_metric
from data_specs.caption_rows import CAPTION_CHANGES_FILE, CAPTION_FIGURES_FILE
from data_specs.metrics import Metric
from data_specs.run_result import ArtifactPlace, RunResult

_EVALUATION, _DIFFERENCES = "caption_evaluation.", "caption_differences."
_Rows = dict[str, dict[str, Any]]  # by metric


@dataclass(frozen=True)
class _Shown:
    """A model's figures, and how they differ from the first model's."""

    figures: _Rows
    changes: _Rows | None


def caption_rows(result: RunResult, *, scores: bool = False) -> dict[str, Any] | None:
    """The captions of a run, or of several of a comparison: `caption`, `heads` and `rows`; None where it made none.

    Args:
        result: of the run.
        scores: show means, such as scores against references, beside shares.
    """
    shown = _shown(result)
    if not shown:
        return None
    heads = ["captions"]
    for model, own in shown.items():
        heads += [model] if own.changes is None else [model, f"− {next(iter(shown))}"]
    rows = []
    for name in dict.fromkeys(name for own in shown.values() for name in own.figures):
        metric = find_caption_metric(name)
        if scores or metric.kind == "share":
            rows.append([name, *(cell for own in shown.values() for cell in _cells(metric, own))])
    n_captions = max(row["n"] for own in shown.values() for row in own.figures.values())
    return {
        "caption": f"captions of {n_captions:,} pictures a side; brackets: 95 % interval of the difference on the same pictures",
        "heads": heads,
        "rows": rows,
    }


def behind_run(run: str, name: str) -> str:
    """What a model of a run is called beside those of another run, which has the first names to itself; `run` is empty for that."""
    return name if not run or name == run or name.startswith(f"{run}.") else f"{run} {name}"


def _shown(result: RunResult) -> dict[str, _Shown]:
    """By model; other runs' behind their names, where they caption the same by the captioner as it is, and without that."""
    runs: dict[str, dict[str, ArtifactPlace]] = {}
    for role, place in result.artifacts.items():
        run, is_one, name = f".{role}".rpartition(f".{_EVALUATION}")
        if is_one:
            runs.setdefault(run.removeprefix("."), {})[name] = place
    if not runs:
        return {}
    lead = "" if "" in runs else next(iter(runs))
    base = next(iter(runs[lead]))
    found = {}
    for run in dict.fromkeys([lead, *runs]):
        as_it_is, *others = runs[run]
        if run == lead or runs[run][as_it_is].version == runs[lead][base].version:
            for name in others if run != lead else runs[run]:
                compared = result.artifacts.get(f"{run}.{_DIFFERENCES}{name}".removeprefix("."))
                changes = None if compared is None else _read(compared, CAPTION_CHANGES_FILE)
                model = behind_run("" if run == lead else run, name)
                found[model] = _Shown(_read(runs[run][name], CAPTION_FIGURES_FILE), changes)
    return found


def _read(place: ArtifactPlace, file: str) -> _Rows:
    return {row["metric"]: row for row in pq.read_table(Path(place.path) / file).to_pylist()}


def _cells(metric: Metric, own: _Shown) -> Iterator[str]:
    found = own.figures.get(metric.name)
    yield "" if found is None else metric.shown(found["value"])
    if own.changes is not None:
        change = own.changes.get(metric.name)
        yield "" if change is None else _change(metric, change)


def _change(metric: Metric, change: dict[str, Any]) -> str:
    told = metric.shown(change["difference"], sign="+")
    if change["low"] is None:
        return told
    return f"{told} [{metric.shown(change['low'], sign='+')}, {metric.shown(change['high'], sign='+')}]"
