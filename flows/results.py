"""All figures of a store's runs, one row a model, from the records that the runs left."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from data_specs.errors import SpecError
from data_specs.experiment import ORIGINAL
from data_specs.moments import moment_of
from data_specs.run_config import ENCODERS
from data_specs.wording import shown
from flows.artifact_uses import file_name, model_named
from tasks.lineage.runs import dotted_settings, run_records

# Said by columns of their own, or no setting of the way to edit.
_TOLD_APART = ("name", "model.", "evaluation.shards", "evaluation.zero_shot", "methods", "fetching.", "store.")
_EDITED = "edited"
_NOT_GIVEN = "–"


@dataclass(frozen=True)
class ResultRow:
    """What one model of one run measured."""

    run: str
    id: str
    what: str  # original, edited, a point, a method
    model: str
    data: str
    started: str
    settings: dict[str, Any]  # dotted; those of encoders only where they are this model's
    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    evaluation: str | None = None
    captions: str | None = None  # the evaluation of its captions


@dataclass(frozen=True)
class Results:
    """Rows, the newest run first; how many say again what a newer row says; runs that did not come to their end."""

    rows: list[ResultRow]
    n_repeated: int
    unfinished: dict[str, int]

    def differing(self) -> list[str]:
        """The settings that are not the same in all rows, in the order of a settings file."""
        names = dict.fromkeys(name for row in self.rows for name in row.settings)
        return [
            name
            for name in names
            if not name.startswith(_TOLD_APART)
            and len({shown_setting(row, name) for row in self.rows if name in row.settings}) > 1
        ]


def results_of(root: Path, *, name: str = "", model: str = "", since: str = "") -> Results:
    """The results of all completed runs.

    Args:
        root: the store's folder.
        name: part of the names of runs to take.
        model: part of architecture or weights of those to take.
        since: first day or time, such as 2026-03-01, UTC where it says no other.

    Raises:
        SpecError: `since` is no date.
    """
    rows: dict[tuple[str, str, str], ResultRow] = {}
    n_repeated = 0
    unfinished: dict[str, int] = {}
    for record in records_like(root, name=name, model=model, since=since):
        if record["status"] != "completed":
            unfinished[record["status"]] = unfinished.get(record["status"], 0) + 1
            continue
        for row in result_rows(record):
            key = (row.run, row.what, row.evaluation or row.captions or row.id)
            n_repeated += key in rows
            rows.setdefault(key, row)
    return Results(list(rows.values()), n_repeated, unfinished)


def records_like(root: Path, *, name: str = "", model: str = "", since: str = "") -> list[dict[str, Any]]:
    """The records of runs, the newest first; see `results_of`."""
    first = first_moment(since) if since else None
    return [
        record
        for record in run_records(root)
        if name in record["settings"]["name"]
        and model in model_named(record["settings"])
        and (first is None or datetime.fromisoformat(record["started"]) >= first)
    ]


def shown_setting(row: ResultRow, name: str) -> str:
    """A setting as a table shows it."""
    if name not in row.settings:
        return _NOT_GIVEN
    value = row.settings[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def first_moment(text: str) -> datetime:
    """What `--since` asks for: a day, or a time of it.

    Raises:
        SpecError: it is no date.
    """
    try:
        return moment_of(text)
    except (ValueError, OverflowError) as error:
        raise SpecError(f"--since {shown(text)} is no date; expected such as 2026-03-01 or 2026-03-01T12:00") from error


def measured_data(settings: dict[str, Any]) -> str:
    """The shards that a run measures on, files by their names."""
    shards: Sequence[str] = (settings.get("evaluation") or {}).get("shards") or []
    return " ".join(map(file_name, shards))


def result_rows(record: dict[str, Any]) -> Iterator[ResultRow]:
    """What each model of one run measured, the original first."""
    settings = record["settings"]
    artifacts = record.get("artifacts") or {}
    whole = dict(dotted_settings(settings))
    # A point or a method is not edited as the run's own settings say; its name says how.
    others = {name: value for name, value in whole.items() if name.partition(".")[0] not in ENCODERS}
    figures_of = record.get("figures") or {}
    for what in sorted(figures_of, key=lambda name: (name != ORIGINAL, name != _EDITED, name)):
        yield ResultRow(
            run=settings["name"],
            id=record["id"],
            what=what,
            model=model_named(settings),
            data=measured_data(settings),
            started=record["started"],
            settings=whole if what == _EDITED else others,
            figures=figures_of[what],
            intervals={key: (low, high) for key, (low, high) in record.get("intervals", {}).get(what, {}).items()},
            evaluation=artifacts.get(f"evaluation.{what}"),
            captions=artifacts.get(f"caption_evaluation.{what}"),
        )
