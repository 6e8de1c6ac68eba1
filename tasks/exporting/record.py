"""What the store knows of an edited model: the edit, the data behind it, its measurements."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from data_specs.errors import ArtifactError
from data_specs.families import encoder_of
from data_specs.manifest import ArtifactRef, Manifest
from data_specs.overlap import Overlap
from data_specs.run_config import ENCODERS
from data_specs.sign_filter import signs_of
from data_specs.wording import last_part
from tasks.exporting.choice import choice_of
from tasks.exporting.measurements import DataVersion, Measurement, data_versions, measurements
from tasks.exporting.overlap import overlap_behind
from tasks.exporting.places import hub_name
from tasks.lineage.store import Store
from tasks.lineage.trace import inputs_of

_EDIT_FILE, _INDEX = "edit.safetensors", ".index"


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
    chosen_by: Sequence[str] = ()  # how a sweep chose it, in sentences


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
    behind, chosen = _ancestors(store, edit_ref), choice_of(store, edit_ref)
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
        calibration=data_versions(behind),
        measurements=measurements(store, {ref, edit_ref}, base, chosen.choosing if chosen else ()),
        chosen_by=chosen.sentences if chosen else [],
        overlap=overlap_behind(store, behind),
    )


def _require_counts(path: Path, edit: Manifest) -> None:
    """Refuse counts of changed weights that are not those of the edit's file: who rewrites counts may rewrite their digest."""
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
