"""Reading a run's settings from YAML, with paths taken relative to the file."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from data_specs.errors import SpecError
from data_specs.run_config import RunConfig
from data_specs.shard_patterns import literal_pattern

_URL = re.compile(r"^([a-z][a-z0-9+.-]*://|pipe:|hf-hub:)")

_MERGE_TAG = "tag:yaml.org,2002:merge"


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML itself forbids."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != _MERGE_TAG]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_config(path: Path) -> RunConfig:
    """Read and validate CONFIG.yaml; relative paths inside it start at its folder.

    Args:
        path: the YAML file.

    Returns:
        The settings, every local path absolute.

    Raises:
        SpecError: the file is missing, is not YAML, or a field is unknown or out of bounds.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read the settings file {path}: {error}") from error
    try:
        data = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, Mapping):
        raise SpecError(f"{path} holds {type(data).__name__}, expected a mapping with name, model, calibration, ...")
    return parse_config(data, base=path.resolve().parent, source=str(path))


def parse_config(data: Mapping[str, Any], *, base: Path, source: str) -> RunConfig:
    """Validate settings given as a mapping.

    Args:
        data: the settings, as YAML gives them.
        base: folder that relative paths start at.
        source: named in errors.

    Returns:
        The settings, every local path absolute.

    Raises:
        SpecError: a field is unknown or out of bounds; every such field is named.
    """
    try:
        config = RunConfig.model_validate(dict(data))
    except ValidationError as error:
        raise SpecError(f"{source}: {describe_validation(error)}") from error
    return _with_absolute_paths(config, base)


def describe_validation(error: ValidationError) -> str:
    """One line for a validation error: each field's path, what is wrong and what was given."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "settings"
        if item["type"] == "extra_forbidden":
            lines.append(f"{where} is not a known setting")
        elif item["type"] == "missing":
            lines.append(f"{where} is missing")
        elif item["type"] == "value_error":
            lines.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
        else:
            lines.append(f"{where}: {item['msg']}, got {item['input']!r}")
    return "; ".join(lines)


def load_preset(name: str) -> dict[str, Any]:
    """The paper's settings for one model, to be completed with shards.

    Args:
        name: file name in data_specs/presets without its ending.

    Returns:
        The mapping, as CONFIG.yaml would hold it.

    Raises:
        SpecError: there is no such preset.
    """
    folder = files("data_specs") / "presets"
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if name not in known:
        raise SpecError(f"preset {name!r} does not exist; there are {', '.join(known)}")
    loaded: dict[str, Any] = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


def resolve_location(location: str, base: Path) -> str:
    """An absolute path for a local location; URLs and `pipe:` commands stay as they are."""
    if _URL.match(location):
        return location
    expanded = Path(location).expanduser()
    return str(expanded if expanded.is_absolute() else base / expanded)


def _with_absolute_paths(config: RunConfig, base: Path) -> RunConfig:
    # Braces in the name of the file's own folder are no part of the user's patterns.
    patterns_base = Path(literal_pattern(str(base)))

    def resolved(locations: list[str] | None) -> list[str] | None:
        return None if locations is None else [resolve_location(location, patterns_base) for location in locations]

    model, calibration, evaluation = config.model, config.calibration, config.evaluation
    architecture = model.architecture
    if architecture.endswith(".json"):
        architecture = resolve_location(architecture, base)
    weights = model.weights
    if weights is not None and ("/" in weights or Path(weights).suffix or (base / weights).exists()):
        weights = resolve_location(weights, base)
    tokenizer = None if model.tokenizer is None else resolve_location(model.tokenizer, base)
    return config.model_copy(
        update={
            "model": model.model_copy(
                update={"architecture": architecture, "weights": weights, "tokenizer": tokenizer}
            ),
            "calibration": calibration.model_copy(
                update={name: resolved(getattr(calibration, name)) for name in ("shards", "safe", "unsafe")}
            ),
            "evaluation": evaluation.model_copy(
                update={
                    "shards": resolved(evaluation.shards),
                    "zero_shot": [
                        item.model_copy(update={"path": resolve_location(item.path, base)})
                        for item in evaluation.zero_shot
                    ],
                }
            ),
        }
    )
