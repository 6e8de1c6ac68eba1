"""What the store knows of an edited model: the edit, the data behind it, its measurements."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from data_specs.errors import ArtifactError
from data_specs.evaluation_files import (
    INTERVALS_FILE,
    read_chance,
    read_differences,
    read_intervals,
    read_metrics,
)
from data_specs.families import encoder_of
from data_specs.figures import Difference
from data_specs.manifest import ArtifactRef, Manifest
from data_specs.overlap import Overlap
from data_specs.run_config import ENCODERS
from data_specs.sign_filter import signs_of
from tasks.exporting.overlap import overlap_behind
from tasks.exporting.places import hub_name, last_part
from tasks.lineage.digest import canonical_json
from tasks.lineage.progress import notice
from tasks.lineage.store import Store
from tasks.lineage.trace import inputs_of

_EDIT_FILE, _INDEX = "edit.safetensors", ".index"
_SHARDS = "shards"
# What an evaluation's inputs say of the data, beside the shards; the rest is of the model.
_OF_THE_DATA = ("samples", "contents", "class_names", "templates")


@dataclass(frozen=True)
class LayerChange:
    """How many weights of one layer were changed, and of how many."""

    layer: str
    n_selected: int
    n_weights: int


@dataclass(frozen=True)
class EncoderChange:
    """What was done to one encoder; `settings` are those of its scores and of its edit."""

    encoder: str
    settings: dict[str, Any]
    layers: list[LayerChange]

    @property
    def n_selected(self) -> int:
        """Weights changed."""
        return sum(layer.n_selected for layer in self.layers)

    @property
    def n_weights(self) -> int:
        """Weights of the target layers."""
        return sum(layer.n_weights for layer in self.layers)


@dataclass(frozen=True)
class DataVersion:
    """One shard and what it was used for; `name` is the last part of where it lay."""

    used_for: str
    name: str
    sha256: str


@dataclass(frozen=True)
class Figures:
    """One model on one evaluation set: percent by metric, and intervals where they were made."""

    version: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    chance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """The edited model on one evaluation set, and the original on the same where it was measured.

    `differences` between the two, pair by pair, where a run compared them.
    """

    data: list[DataVersion]
    edited: Figures
    original: Figures | None
    differences: dict[str, Difference] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelRecord:
    """All that a model card says."""

    version: str
    edit_version: str
    is_control: bool
    base_digest: str
    base_name: str
    base_on_hub: str | None
    tokenizers: list[str]
    encoders: list[EncoderChange]
    calibration: list[DataVersion]
    measurements: list[Measurement]
    overlap: Overlap | None = None


def describe_edited(store: Store, ref: ArtifactRef) -> ModelRecord:
    """Gather what the manifests say of an edited model.

    Args:
        store: holds the model and all that it was made of.
        ref: the `model` artifact.

    Returns:
        The record.

    Raises:
        ArtifactError: an artifact that it was made of is missing, its edit has changed, or a manifest lacks what a run
            records.
    """
    model = store.manifest(ref)
    edit_ref, base = model.recipe.inputs.get("edit"), model.recipe.inputs.get("model")
    if not isinstance(edit_ref, ArtifactRef) or not isinstance(base, str):
        raise ArtifactError(
            f"model {ref.version[:12]} names no edit and base model in its manifest; run `uwm run` again"
        )
    edit = store.check(edit_ref)
    _require_counts(store.path(edit_ref) / _EDIT_FILE, edit)
    behind = _ancestors(store, edit_ref)
    names = {item.recipe.settings.get("tokenizer") for item in (model, *behind)}
    return ModelRecord(
        version=ref.version,
        edit_version=edit_ref.version,
        is_control="control" in edit.recipe.settings,
        base_digest=base,
        base_name=last_part(_first_count(behind, "base_model")),
        base_on_hub=hub_name(_first_count(behind, "base_model")),
        tokenizers=sorted(str(name) for name in names if name is not None),
        encoders=_encoder_changes(edit, behind),
        calibration=_data_versions(behind),
        measurements=_measurements(store, {ref, edit_ref}, base),
        overlap=overlap_behind(store, behind),
    )


def _require_counts(path: Path, edit: Manifest) -> None:
    """Refuse counts of changed weights that are not those of the edit's file: no digest covers a manifest's counts."""
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.endswith(_INDEX)]  # noqa: SIM118
            found = {name.removesuffix(_INDEX): file.get_slice(name).get_shape()[0] for name in names}
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"cannot read {path}: {error}; run `uwm run` again") from error
    counts: dict[str, dict[str, Any]] = edit.counts.get("layers", {})
    told = {layer: count.get("n_selected") for layer, count in counts.items()}
    for layer in sorted(found.keys() | told.keys()):
        if found.get(layer) != told.get(layer):
            raise ArtifactError(
                f"edit {edit.version[:12]}: its manifest counts {told.get(layer)} changed weights of layer {layer}, its"
                f" file {found.get(layer)}; remove the artifact's folder to have it made anew"
            )


def _ancestors(store: Store, ref: ArtifactRef) -> list[Manifest]:
    found: dict[ArtifactRef, Manifest] = {}

    def visit(current: ArtifactRef) -> None:
        if current not in found:
            found[current] = store.manifest(current)
            for item in inputs_of(store, current).values():
                visit(item)

    visit(ref)
    return list(found.values())


def _first_count(manifests: list[Manifest], name: str) -> str:
    return next((str(item.counts[name]) for item in manifests if name in item.counts), "")


def _encoder_changes(edit: Manifest, behind: list[Manifest]) -> list[EncoderChange]:
    # A control's own settings say how it was drawn; the edit that it matches says the rest.
    edits = [item.recipe.settings for item in behind if item.recipe.kind == "edit"]
    layers: dict[str, dict[str, Any]] = edit.counts.get("layers", {})
    signs = next((found for item in behind if (found := signs_of(item.recipe.settings))), {})
    changes = []
    for encoder in ENCODERS:
        own = [
            LayerChange(layer, int(count["n_selected"]), int(count["n_weights"]))
            for layer, count in layers.items()
            if encoder_of(layer) == encoder
        ]
        if not own:
            continue
        scored = [item.recipe.settings for item in behind if item.recipe.kind == f"layer_scores.{encoder}"]
        chosen = [settings[encoder] for settings in edits if isinstance(settings.get(encoder), dict)]
        merged: dict[str, Any] = {}
        for settings in [*scored[:1], *chosen[:1]]:
            merged |= dict(settings)  # type: ignore[arg-type]
        if encoder in signs:
            merged["sign"] = signs[encoder]
        changes.append(EncoderChange(encoder, merged, own))
    return changes


def _data_versions(manifests: list[Manifest]) -> list[DataVersion]:
    found: dict[tuple[str, str], DataVersion] = {}
    for manifest in manifests:
        shards = manifest.recipe.inputs.get(_SHARDS)
        if not isinstance(shards, list):
            continue
        places = {source.sha256: source.location for source in manifest.sources}
        for digest in map(str, shards):
            found[manifest.recipe.kind, digest] = DataVersion(
                manifest.recipe.kind, last_part(places.get(digest, "")), digest
            )
    return [found[key] for key in sorted(found, key=lambda key: (key[0], found[key].name, key[1]))]


def _measurements(store: Store, edited_as: set[ArtifactRef], base: str) -> list[Measurement]:
    """Evaluations of a model: a run's lead back to the `model` artifact, a sweep's or comparison's to the `edit`."""
    edited: dict[str, Manifest] = {}
    original: dict[str, Manifest] = {}
    for item in store.refs():
        if item.kind != "evaluation":
            continue
        manifest = store.manifest(item)
        measured = manifest.recipe.inputs.get("model")
        found = edited if measured in edited_as else original if measured == base else None
        if found is None:
            continue
        try:
            store.check(item)
            key = _data_key(store, item)
        except ArtifactError as error:
            notice(f"left out of the model card: {error}")
            continue
        if key not in found or found[key].circumstances.ended < manifest.circumstances.ended:
            found[key] = manifest
    return [
        Measurement(
            _data_versions([store.manifest(item) for item in _data_of(store, manifest, edited_as)]),
            _figures(store, manifest),
            _figures(store, original[key]) if key in original else None,
            _compared(store, original[key].ref, manifest.ref) if key in original else {},
        )
        for key, manifest in sorted(edited.items(), key=lambda pair: pair[1].circumstances.ended)
    ]


def _compared(store: Store, first: ArtifactRef, second: ArtifactRef) -> dict[str, Difference]:
    """The newest sound comparison of two evaluations; empty where there is none."""
    found = []
    for item in store.refs():
        if item.kind == "differences":
            manifest = store.manifest(item)
            inputs = manifest.recipe.inputs
            if (inputs.get("first"), inputs.get("second")) == (first, second):
                found.append(manifest)
    for manifest in sorted(found, key=lambda item: item.circumstances.ended, reverse=True):
        with suppress(ArtifactError):
            store.check(manifest.ref)
            return read_differences(store.path(manifest.ref))
    return {}


def _data_of(store: Store, evaluation: Manifest, edited_as: set[ArtifactRef]) -> list[ArtifactRef]:
    return [item for item in inputs_of(store, evaluation.ref).values() if item not in edited_as]


def _data_key(store: Store, evaluation: ArtifactRef) -> str:
    """What two evaluations share exactly where they measured on the same data."""
    data = {}
    for role, item in inputs_of(store, evaluation).items():
        if role == "model":
            continue
        recipe = store.manifest(item).recipe
        settings = {name: recipe.settings[name] for name in _OF_THE_DATA if name in recipe.settings}
        data[role] = {"shards": recipe.inputs.get(_SHARDS), "settings": settings}
    return canonical_json(data)


def _figures(store: Store, evaluation: Manifest) -> Figures:
    folder = store.path(evaluation.ref)
    intervals = read_intervals(folder) if (folder / INTERVALS_FILE).is_file() else {}
    return Figures(evaluation.version, read_metrics(folder), intervals, read_chance(folder))
