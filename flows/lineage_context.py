"""What a run tells the manifests of what it makes: its settings, and which model each digest stands for."""

from pathlib import Path
from typing import Any

from pydantic import JsonValue

from data_specs.manifest import ArtifactRef, GivenSettings
from data_specs.run_config import ENCODERS, HUB, TEXT_DEFAULTS, VISION_DEFAULTS, RunConfig
from tasks.encoders.checkpoint import SAFETENSORS
from tasks.encoders.llava.folder import is_llava, open_llava
from tasks.encoders.loading import LoadedModel
from tasks.encoders.transformers_format import INDEX, WEIGHTS
from tasks.lineage.base_weights import ModelInUse
from tasks.lineage.digest import canonical_json, text_sha256

_MOST_LISTED = 100


def settings_told(asked: RunConfig, acting: RunConfig) -> GivenSettings:
    """The settings as they were given and as they act, none of their lists longer than a manifest bears."""
    given, resolved = asked.model_dump(mode="json", exclude_unset=True), acting.model_dump(mode="json")
    for encoder, usual in (("text", TEXT_DEFAULTS), ("vision", VISION_DEFAULTS)):
        if isinstance(own := given.get(encoder), dict):
            # What each encoder has of its own where nothing is given.
            filled = {name: getattr(usual, name) for name in usual.model_fields_set}
            given[encoder] = {name: value for name, value in own.items() if filled.get(name, ...) != value}
    return GivenSettings(given=_shortened(given), resolved=_shortened(resolved))


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items()}
    if isinstance(value, list) and len(value) > _MOST_LISTED:
        told: dict[str, JsonValue] = {"n": len(value), "first": value[0], "last": value[-1]}
        return told | {"sha256": text_sha256(canonical_json(value))}
    return [_shortened(item) for item in value] if isinstance(value, list) else value


def model_in_use(loaded: LoadedModel, base: LoadedModel, edit: ArtifactRef | None = None) -> ModelInUse:
    """What manifests need to know of a model, the base model itself or that with an edit on it."""
    digests = {loaded.digest, *(loaded.encoder_digest(encoder) for encoder in ENCODERS)}
    return ModelInUse(frozenset(digests), base.digest, _weights_files(base.source), edit)


def _weights_files(source: str) -> tuple[Path, ...]:
    """The files of a model's weights on this machine; the hub is not asked."""
    place = Path(source)
    if source.startswith(HUB):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            place = Path(snapshot_download(source.removeprefix(HUB), local_files_only=True))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError):
            return ()
    if not place.is_dir():
        return (place,) if place.is_file() else ()
    if is_llava(place):
        tower = open_llava(place, "model.llava").tower.values()
        return tuple(sorted({tensor.file for tensor in tower}))
    if (place / WEIGHTS).is_file():
        return (place / WEIGHTS,)
    return tuple(sorted([*place.glob(f"model-*{SAFETENSORS}"), *place.glob(INDEX)]))
