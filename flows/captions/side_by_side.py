"""Captions of several runs as columns of one table."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_specs.caption_figures import CaptionChange, judges_of, read_caption_figures, read_caption_outcomes
from data_specs.captioning import AS_IT_IS
from data_specs.errors import ArtifactError, DataError, PipelineError
from data_specs.experiment import ORIGINAL
from data_specs.wording import first_line, one_line
from tasks.evaluation.captions.figures import caption_changes
from tasks.lineage.store import Store
from tasks.reporting.runs_page import RunColumn

_EVALUATION = "caption_evaluation."
_FIRST = (ORIGINAL, AS_IT_IS)  # never both


def captions_in_record(record: Mapping[str, Any]) -> dict[str, str]:
    """Versions of the evaluations of a run's captions, by model."""
    artifacts = record.get("artifacts") or {}
    return {
        role.removeprefix(_EVALUATION): version for role, version in artifacts.items() if role.startswith(_EVALUATION)
    }


def caption_columns(store: Store, records: Iterable[Mapping[str, Any]]) -> list[RunColumn]:
    """A column for each model whose captions are still in the store, the first run's original first; each evaluation once."""
    return [*_columns(store, records)]


def _columns(store: Store, records: Iterable[Mapping[str, Any]]) -> Iterator[RunColumn]:
    told: set[str] = set()
    first: pa.Table | None = None
    for record in records:
        found = captions_in_record(record)
        for what in sorted(found, key=lambda name: (name not in _FIRST, name != "edited", name)):
            folder = _folder(store, found[what])
            if folder is None or found[what] in told:
                continue
            told.add(found[what])
            figures = read_caption_figures(folder)
            outcomes = read_caption_outcomes(folder)
            compared, why = (
                (None, "") if first is None else _compared(first, outcomes, record["settings"].get("seed", 0))
            )
            first = outcomes if first is None else first
            yield RunColumn(
                record["settings"]["name"],
                what,
                {name: row.value for name, row in figures.items()},
                {
                    name: (row.low, row.high)
                    for name, row in figures.items()
                    if row.low is not None and row.high is not None
                },
                compared,
                why,
            )


def _folder(store: Store, version: str) -> Path | None:
    with suppress(PipelineError):
        return store.path(store.find(version))
    return None


def _compared(first: pa.Table, second: pa.Table, seed: int) -> tuple[Mapping[str, CaptionChange] | None, str]:
    """Differences on the same pictures, of judges that both have; else why there are none."""
    judges = [name for name in judges_of(first) if name in judges_of(second)]
    try:
        rows = caption_changes(first, second, judges, seed).to_pylist()
    except (DataError, ArtifactError) as error:
        return None, one_line(first_line(error), 300)
    return {row["metric"]: CaptionChange(**row) for row in rows}, ""
