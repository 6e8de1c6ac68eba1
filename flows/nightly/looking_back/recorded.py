"""Evaluations that no watch asked for: what the records of runs and the manifests of what they made say of them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, Manifest
from data_specs.moments import moment_of
from data_specs.night import Measured, Night
from flows.nightly.looking_back.ended import state_of
from flows.results import measured_data, result_rows
from tasks.lineage.contents import read_manifest

_EVALUATION = "evaluation"


def recorded_measurements(root: Path, record: dict[str, Any]) -> Iterator[Measured]:
    """What a run measured, a model each; of one that did not come to its end one without figures.

    Args:
        root: of the store.
        record: of a run; of a comparison of several settings of one of them.
    """
    run, settings = record["id"], record["settings"]
    data = measured_data(settings)
    state = state_of(record["status"], record["started"], record.get("host"), record.get("process"))
    if state != "measured":
        yield Measured(model=settings["name"], set=data, status=record["status"], error=record.get("error"), run=run)
        return
    for row in result_rows(record):
        yield Measured(
            model=f"{row.run} {row.what}",
            set=data,
            status="completed",
            run=run,
            evaluation=row.evaluation,
            figures={name: value for name, value in row.figures.items() if not name.startswith("n_")},
            intervals=row.intervals,
            n_pairs=_count(row.figures),
            **_made_by(root, row.evaluation),
        )


def runs_of_nights(records: Sequence[dict[str, Any]], nights: Sequence[Night]) -> dict[str, str]:
    """The runs that nights began, by the record's identifier: that of the night.

    A night names them, or they are called `WATCH.MODEL.SET` and began within it, in its process.
    """
    named = {item.run: night.id for night in nights for item in night.measured if item.run}
    flow_runs = {item.flow_run_id: night.id for night in nights for item in night.measured if item.flow_run_id}
    flow_runs |= {night.flow_run_id: night.id for night in nights if night.flow_run_id}
    by_process: dict[tuple[str | None, int | None], list[Night]] = {}
    for night in nights:
        by_process.setdefault((night.host, night.process), []).append(night)
    found = {}
    for record in records:
        own = by_process.get((record.get("host"), record.get("process")), [])
        within = next((night.id for night in own if _began_within(record, night)), None)
        night_id = named.get(record["id"]) or flow_runs.get(record.get("flow_run_id") or "") or within
        if night_id is not None:
            found[record["id"]] = night_id
    return found


def _began_within(record: dict[str, Any], night: Night) -> bool:
    started = moment_of(record["started"])
    return (
        record["settings"]["name"].startswith(f"{night.watch}.")
        and moment_of(night.started) <= started
        and (night.ended is None or started <= moment_of(night.ended))
    )


def _count(figures: dict[str, float]) -> int | None:
    return int(figures["n_pairs"]) if "n_pairs" in figures else None


def _made_by(root: Path, version: str | None) -> dict[str, Any]:
    """What the manifest of an evaluation says, and of its pairs' shards that of their embeddings."""
    manifest = _manifest(root, _EVALUATION, version)
    if manifest is None:
        return {}
    model = manifest.recipe.inputs.get("model")
    around = manifest.circumstances
    return {
        "what": model.version if isinstance(model, ArtifactRef) else model if isinstance(model, str) else None,
        "code": manifest.recipe.code,
        "libraries": around.libraries,
        "environments": [around.environment] if around.environment else [],
        "shards": _shards(root, manifest),
    }


def _shards(root: Path, evaluation: Manifest) -> list[str]:
    for given in evaluation.recipe.inputs.values():
        if isinstance(given, ArtifactRef) and given.kind.startswith("embeddings."):
            embeddings = _manifest(root, given.kind, given.version)
            shards = embeddings.recipe.inputs.get("shards") if embeddings else None
            if isinstance(shards, list):
                return [digest for digest in shards if isinstance(digest, str)]
    return []


def _manifest(root: Path, kind: str, version: str | None) -> Manifest | None:
    if version is None:
        return None
    with suppress(ArtifactError, OSError, ValueError):
        return read_manifest(root / kind / version, ArtifactRef(kind=kind, version=version))
    return None
