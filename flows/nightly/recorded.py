"""Evaluations that no watch asked for: what the records of runs and the manifests of what they made say of them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, Manifest
from data_specs.night import Measured
from flows.nightly.ended import state_of
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
