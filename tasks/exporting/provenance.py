"""Where an exported model comes from, as an in-toto statement with SLSA provenance, for those whose tools read that.

Source: https://in-toto.io/Statement/v1 and https://slsa.dev/provenance/v1
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_specs.errors import SpecError
from data_specs.manifest import ArtifactRef, Manifest
from data_specs.wording import last_part, reason
from tasks.exporting.record import describe_edited
from tasks.lineage.circumstances import now
from tasks.lineage.contents import manifest_sha256
from tasks.lineage.digest import file_sha256
from tasks.lineage.store import Store
from tasks.lineage.trace import manifests_behind

_STATEMENT, _PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
_NAMES = "urn:unsafe-weights"
_BUILD_TYPE, _BUILDER = f"{_NAMES}:export:v1", f"{_NAMES}:builder"


def provenance_of(store: Store, ref: ArtifactRef, folder: Path, export_format: str) -> dict[str, Any]:
    """The statement about the files of an exported model.

    Like a model card it names what lay elsewhere by the last part of its location, and no user, host or command.

    Args:
        store: holds the model and all that it was made of.
        ref: the `model` artifact.
        folder: what was exported of it; its files are the subjects.
        export_format: `open_clip` or `transformers`.

    Returns:
        The statement, as JSON holds it.

    Raises:
        ArtifactError: see `describe_edited`.
    """
    record = describe_edited(store, ref)
    manifests = manifests_behind(store, [ref])
    model = manifests[ref]
    around = model.circumstances
    return {
        "_type": _STATEMENT,
        "subject": [*_subjects(folder)],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "format": export_format,
                    "model": ref.version,
                    "edit": {change.encoder: change.settings for change in record.encoders},
                },
                "internalParameters": {"device": around.device, "precision": around.precision, "seed": around.seed},
                "resolvedDependencies": [
                    *_artifacts(store, manifests),
                    *_from_outside(manifests, record.base_name, record.base_digest),
                    *_source(model),
                ],
            },
            "runDetails": {
                "builder": {"id": _BUILDER, "version": _versions(model)},
                "metadata": _metadata(model, manifests),
            },
        },
    }


def write_provenance(path: Path, statement: dict[str, Any]) -> None:
    """Put a statement into a file.

    Raises:
        SpecError: it cannot be written.
    """
    try:
        path.write_text(json.dumps(statement, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write --provenance {path}: {reason(error)}") from error


def _versions(model: Manifest) -> dict[str, str]:
    product = model.circumstances.product
    return model.circumstances.libraries | ({"unsafe-weights": product} if product else {})


def _metadata(model: Manifest, manifests: dict[ArtifactRef, Manifest]) -> dict[str, str]:
    return {
        "invocationId": model.circumstances.flow_run_id or model.version,
        "startedOn": _time(min(item.circumstances.started for item in manifests.values())),
        "finishedOn": _time(now()),
    }


def _subjects(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield {"name": path.relative_to(folder).as_posix(), "digest": {"sha256": file_sha256(path)}}


def _artifacts(store: Store, manifests: dict[ArtifactRef, Manifest]) -> Iterator[dict[str, Any]]:
    for ref in sorted(manifests, key=lambda item: (item.kind, item.version)):
        yield {
            "name": f"{ref.kind} manifest",
            "uri": f"{_NAMES}:{ref.kind}:{ref.version}",
            "digest": {"sha256": manifest_sha256(store.path(ref))},
            "mediaType": "application/json",
        }


def _from_outside(manifests: dict[ArtifactRef, Manifest], base_name: str, base_digest: str) -> Iterator[dict[str, Any]]:
    yield {
        "name": base_name or "base model",
        # Over the names, types and values of all tensors, whatever file they lie in.
        "digest": {"tensorsSha256": base_digest},
        "annotations": {"role": "base model"},
    }
    for weights in {item.sha256: item for manifest in manifests.values() for item in manifest.weights}.values():
        yield {
            "name": last_part(weights.location),
            "digest": {"sha256": weights.sha256},
            "annotations": {"role": "file of the base model", "tensorsSha256": weights.tensors},
        }
    found = {
        (source.sha256, last_part(source.location), manifest.recipe.kind)
        for manifest in manifests.values()
        for source in manifest.sources
    }
    for digest, name, kind in sorted(found, key=lambda item: (item[2], item[1], item[0])):
        yield {"name": name, "digest": {"sha256": digest}, "annotations": {"role": kind}}


def _source(model: Manifest) -> Iterator[dict[str, Any]]:
    if model.circumstances.git_commit is not None:
        yield {
            "name": "source",
            "digest": {"gitCommit": model.circumstances.git_commit},
            "annotations": {"changed": bool(model.circumstances.git_dirty), "code": model.recipe.code},
        }


def _time(text: str) -> str:
    """ISO 8601 in UTC as both standards write it."""
    return text.replace("+00:00", "Z")
