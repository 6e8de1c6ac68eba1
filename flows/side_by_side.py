"""Several runs on one page."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from data_specs.errors import ArtifactError, DataError, PipelineError
from data_specs.figures import Difference
from data_specs.manifest import ArtifactRef
from data_specs.moments import shown_moment
from data_specs.run_result import ArtifactPlace, RunResult
from data_specs.wording import first_line, one_line, shown
from flows.artifact_uses import model_named
from flows.captions.side_by_side import caption_columns, captions_in_record
from flows.nightly.looking_back.watch_report import relative_report
from flows.references import find_reference
from flows.results import ResultRow, Results, measured_data, result_rows, shown_setting
from flows.verdicts import verdict_of
from tasks.evaluation.differences import differences
from tasks.lineage.runs import MAIN_ROLES, dotted_settings, run_records
from tasks.lineage.store import Store
from tasks.reporting.runs_page import RunColumn, ShownRun, render_runs

_EVALUATION, _REPORT = "evaluation", "report"
_ROLES = (_REPORT, "evaluation.edited", "evaluation.measured", "caption_evaluation.edited", *MAIN_ROLES)


def runs_report(store: Store, named: Sequence[str], out: Path, now: datetime) -> str:
    """The page of several runs as HTML.

    Args:
        store: holds what they made.
        named: a REF each.
        out: where the page will lie; links start there.
        now: when it is written.

    Raises:
        ArtifactError: a REF names nothing, or nothing that a run on record made.
    """
    records = {record["id"]: record for record in (_record_of(store, ref) for ref in named)}
    of_run = {run: [*result_rows(record)] for run, record in records.items()}
    folder = out.absolute().parent
    fullest = {run: _fullest(records[run], rows) for run, rows in of_run.items()}
    shown_runs = [_shown_run(store, record, fullest, folder) for record in records.values()]
    columns = [*_columns(store, [row for rows in of_run.values() for row in rows], records)]
    return render_runs(shown_runs, columns, now.isoformat(), caption_columns(store, records.values()))


def _record_of(store: Store, named: str) -> dict[str, Any]:
    """The record of the run that a REF names, or the newest one of those that made what it names."""
    version = find_reference(store, named, _ROLES).version
    made = [record for record in run_records(store.root) if version in (record.get("artifacts") or {}).values()]
    name = named.partition(":")[0]
    called = [record for record in made if name in (record["id"], record["settings"]["name"])]
    with_figures = [record for record in [*called, *made] if record.get("figures") or captions_in_record(record)]
    if not with_figures:
        raise ArtifactError(
            f"no run on record measured anything with {shown(named)}; name a run, see `uwm results`, or one of its artifacts"
        )
    return with_figures[0]


def _fullest(record: Mapping[str, Any], rows: Sequence[ResultRow]) -> ResultRow:
    """The row with the settings that act on the edited model, of which every run has one row more than the original's."""
    if rows:
        return max(rows, key=lambda row: len(row.settings))
    settings = record["settings"]  # of a run that wrote captions alone
    whole = dict(dotted_settings(settings))
    data, model = measured_data(settings), model_named(settings)
    return ResultRow(settings["name"], record["id"], "captions", model, data, record["started"], whole, {})


def _shown_run(store: Store, record: Mapping[str, Any], fullest: Mapping[str, ResultRow], folder: Path) -> ShownRun:
    artifacts = record.get("artifacts") or {}
    result = RunResult(
        name=record["settings"]["name"],
        store=str(store.root),
        artifacts={role: place for role, version in artifacts.items() if (place := _place(store, version))},
        computed=0,
        reused=0,
    )
    verdict = ["its files are no longer in the store, which could say it"]
    with suppress(PipelineError, OSError, ValueError):
        verdict = verdict_of(result)
    report = result.artifacts.get(_REPORT)
    differing = Results([*fullest.values()], 0, {}).differing()
    own = fullest[record["id"]]
    return ShownRun(
        name=result.name,
        id=record["id"],
        started=shown_moment(record["started"]),
        model=own.model,
        data=own.data,
        verdict=verdict,
        settings={name: shown_setting(own, name) for name in differing},
        report=relative_report(Path(report.path) / "report.html" if report else None, store.root, folder),
    )


def _place(store: Store, version: str) -> ArtifactPlace | None:
    with suppress(PipelineError):
        return ArtifactPlace(version=version, path=str(store.path(store.find(version))))
    return None


def _columns(store: Store, rows: Sequence[ResultRow], records: Mapping[str, Any]) -> Iterator[RunColumn]:
    """Each evaluation once, the first one's original first."""
    told: set[str] = set()
    first: str | None = None
    for row in rows:
        if (row.evaluation in told and row.evaluation is not None) or (row.evaluation is None and row.captions):
            continue
        told.add(row.evaluation or "")
        compared, why = None, ""
        if first is not None:
            compared, why = _compared(store, first, row.evaluation, records[row.id]["settings"].get("seed", 0))
        first = first or row.evaluation
        figures = {name: value for name, value in row.figures.items() if not name.startswith("n_")}
        yield RunColumn(row.run, row.what, figures, row.intervals, compared, why)


def _compared(store: Store, first: str, second: str | None, seed: int) -> tuple[Mapping[str, Difference] | None, str]:
    """Differences on the same pairs; else why there are none."""
    if second is None:
        return None, "its evaluation is not on record"
    try:
        one, other = (store.path(ArtifactRef(kind=_EVALUATION, version=version)) for version in (first, second))
        table = differences(one, other, seed)
    except (DataError, ArtifactError, OSError) as error:
        return None, one_line(first_line(error), 300)
    rows = [Difference(**row) for row in table.to_pylist()]
    return {row.metric: row for row in rows}, ""
