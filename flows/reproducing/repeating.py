"""Which run made an artifact: what was asked for, and with which settings."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_specs.config_file import parse_config
from data_specs.errors import ArtifactError
from data_specs.fields import AUTO
from data_specs.manifest import ArtifactRef, Manifest
from data_specs.run_config import RunConfig
from data_specs.setting_changes import with_changes
from flows.reproducing.asked import AskedFlow
from flows.reproducing.replay import Request
from tasks.lineage.contents import label_of
from tasks.lineage.runs import RUNS
from tasks.lineage.store import Store
from tasks.lineage.trace import manifests_behind

# Commands of runs whose record does not name the flow: it takes nothing beside the settings.
_FLOW_OF_COMMAND = {"run": "make-safe", "demo": "demo"}


def request_of(store: Store, ref: ArtifactRef, changes: Sequence[str] = ()) -> Request:
    """What the run that made an artifact was asked for; where it left no record, one that used the artifact.

    Args:
        store: holds the artifact and the records of runs.
        ref: which one.
        changes: settings to take in place of those, such as where shards lie now.

    Raises:
        ArtifactError: no record says it.
        SpecError: a change makes no sense.
    """
    for record in _records_about(store, store.manifest(ref)):
        with suppress(ValidationError, KeyError, TypeError, AttributeError):
            asked = _asked(record)
            if asked is not None:
                settings = record["settings"]
                each = settings if isinstance(settings, list) else [settings]
                configs = [_config(item, changes, record["id"]) for item in each]
                return Request(asked, [_sized(store, ref, config) for config in configs])
    raise ArtifactError(
        f"no record in {store.root / RUNS} says with which settings {label_of(ref)} was made; put the records of its"
        " runs there, or start the run again with its CONFIG.yaml"
    )


def _asked(record: dict[str, Any]) -> AskedFlow | None:
    if "asked" in record:
        return AskedFlow.model_validate(record["asked"])
    words = [*record.get("command", []), "", ""]
    flow = _FLOW_OF_COMMAND.get(words[1])
    return None if flow is None else AskedFlow(flow=flow)


def _config(settings: dict[str, Any], changes: Sequence[str], record: str) -> RunConfig:
    return parse_config(with_changes(settings, changes), base=Path.cwd(), source=f"the settings of run {record}")


def _sized(store: Store, ref: ArtifactRef, config: RunConfig) -> RunConfig:
    """With the batch size that `auto` became on the device of that run."""
    for manifest in manifests_behind(store, [ref]).values() if config.batch_size == AUTO else ():
        found = manifest.recipe.settings.get("batch_size")
        if isinstance(found, int):
            return config.with_batch_size(found)
    return config


def _records_about(store: Store, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Records of runs that made or used an artifact: that which its manifest names, those that name it, and the rest."""
    records = sorted(_records(store.root), key=lambda record: str(record.get("started")), reverse=True)
    own = manifest.circumstances.run
    yield from (record for record in records if own is not None and record.get("id") == own)
    named = [record for record in records if manifest.version in _versions(record)]
    yield from sorted(named, key=lambda record: record.get("status") != "completed")
    by_version = {item.ref.version: item.ref for item in store.survey().found}
    for record in records:
        refs = [by_version[version] for version in _versions(record) if version in by_version]
        behind = manifests_behind(store, refs)
        parts = {part for item in behind.values() for part in _parts(item)}
        if manifest.ref in behind or manifest.ref in parts:
            yield record


def _parts(manifest: Manifest) -> Iterator[ArtifactRef]:
    for given in manifest.recipe.inputs.values():
        if isinstance(given, list):
            yield from (item for item in given if isinstance(item, ArtifactRef))


def _versions(record: dict[str, Any]) -> list[str]:
    artifacts = record.get("artifacts")
    return [*artifacts.values()] if isinstance(artifacts, dict) else []


def _records(root: Path) -> Iterator[dict[str, Any]]:
    for path in (root / RUNS).glob("*.json"):
        with suppress(OSError, ValueError):
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                yield content
