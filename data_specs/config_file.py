"""Reading a run's settings from YAML, with paths taken relative to the file."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from data_specs.captioning import CaptioningConfig
from data_specs.data_sets import ZeroShotConfig
from data_specs.errors import SpecError
from data_specs.fields import AUTO
from data_specs.judging import OpenAIChatJudge
from data_specs.run_config import HUB, ModelConfig, RunConfig
from data_specs.setting_changes import with_changes
from data_specs.shard_patterns import literal_pattern
from data_specs.spec import Spec
from data_specs.suggestions import did_you_mean, setting_meant
from data_specs.wording import SHOWN_LENGTH, shortened, shown
from data_specs.yaml_file import read_yaml

_AnySpec = TypeVar("_AnySpec", bound=Spec)
_URL = re.compile(rf"^([a-z][a-z0-9+.-]*://|pipe:|{HUB})")

# Settings that are told as wrong; a list of a thousand wrong values says no more than its first.
_MOST_TOLD = 8


def load_config(path: Path, changes: Sequence[str] = ()) -> RunConfig:
    """Read and validate CONFIG.yaml; relative paths inside it start at its folder.

    Args:
        path: the YAML file; where it is a symbolic link, paths start at the link's folder.
        changes: settings to take in place of the file's, such as `text.tau=0.95`.

    Returns:
        The settings, every local path absolute.

    Raises:
        SpecError: the file is missing, is not YAML, or a field is unknown or out of bounds.
    """
    data = read_mapping(path, "name, model, calibration")
    source = " ".join([str(path), *(f"--set {shortened(change, SHOWN_LENGTH)}" for change in changes)])
    return parse_config(with_changes(data, changes), base=path.absolute().parent, source=source)


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
    return _with_paths(validated(RunConfig, data, source), *resolvers(base), base)


def read_mapping(path: Path, begins: str) -> Mapping[str, Any]:
    """What a file of settings holds, not yet validated; `begins` names some of what is expected.

    Raises:
        SpecError: the file is missing, is not YAML, or holds no mapping.
    """
    data = read_yaml(path)
    if not isinstance(data, Mapping):
        raise SpecError(f"{path} holds {type(data).__name__}, expected a mapping with {begins}, ...")
    return data


def validated(spec: type[_AnySpec], data: Mapping[str, Any], source: str) -> _AnySpec:
    """Settings of a kind; `source` is named in errors.

    Raises:
        SpecError: a field is unknown or out of bounds; every such field is named.
    """
    try:
        return spec.model_validate(dict(data))
    except ValidationError as error:
        raise SpecError(f"{source}: {describe_validation(error, spec)}") from error


def resolvers(base: Path) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """What makes locations absolute that start at `base`, and the same for patterns."""
    folder = base.absolute()
    # Braces in the name of the file's own folder are no part of the user's patterns.
    literal = Path(literal_pattern(str(folder)))
    return (lambda location: resolve_location(location, folder), lambda pattern: resolve_location(pattern, literal))


def require_absolute(config: RunConfig) -> None:
    """Make sure that settings which come from no file, such as a deployment's, name no relative path.

    Raises:
        SpecError: they do.
    """
    _with_paths(config, require_no_relative_path, require_no_relative_path, None)


def require_no_relative_path(location: str) -> str:
    """A location that no folder need be known for, as it is.

    Raises:
        SpecError: it is a relative path.
    """
    if not (_URL.match(location) or Path(location).is_absolute()):
        raise SpecError(
            f"settings that come from no file name the relative path {shown(location)}, and nothing says where it starts;"
            " give absolute paths, as `uwm config CONFIG.yaml` prints them"
        )
    return location


def describe_validation(error: ValidationError, spec: type[Spec] = RunConfig) -> str:
    """One line for a validation error: each field's path, what is wrong and what was given, cut where it is long."""
    items = error.errors(include_url=False)
    told = "; ".join(_described(item, spec) for item in items[:_MOST_TOLD])
    return told if len(items) <= _MOST_TOLD else f"{told}; and {len(items) - _MOST_TOLD} more"


def _described(item: ErrorDetails, spec: type[Spec]) -> str:
    where = ".".join(shortened(str(part), SHOWN_LENGTH) for part in item["loc"]) or "settings"
    kind, text, given = item["type"], item["msg"], item["input"]
    if kind == "extra_forbidden":
        return f"{where} is not a known setting{setting_meant(spec, item['loc'])}"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "value_error":
        return f"{where}: {text.removeprefix('Value error, ')}"
    quotes = "; put it in quotes" if kind == "string_type" and isinstance(given, bool | int | float) else ""
    return f"{where}: {text}, got {shown(given)}{quotes}"


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
        raise SpecError(f"preset {shown(name)} does not exist; there are {', '.join(known)}{did_you_mean(name, known)}")
    loaded: dict[str, Any] = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


def resolve_location(location: str, base: Path) -> str:
    """An absolute path for a local location; URLs and `pipe:` commands stay as they are.

    Raises:
        SpecError: it starts with the home folder of nobody.
    """
    if _URL.match(location):
        return location
    # Of the text, because a Path forgets the ./ by which a name that starts with ~ is told apart.
    expanded = os.path.expanduser(location)  # noqa: PTH111
    if expanded.startswith("~"):
        home = shown(location.partition("/")[0])
        raise SpecError(
            f"path {shown(location)}: there is no home folder {home}; write ./~… for a name that starts with ~"
        )
    return str(base / expanded)


def _with_paths(
    config: RunConfig, resolve: Callable[[str], str], resolve_pattern: Callable[[str], str], base: Path | None
) -> RunConfig:
    """The same settings with every local path and pattern resolved; `base` tells files from pretrained tags."""

    def resolved(locations: list[str] | None) -> list[str] | None:
        return None if locations is None else [resolve_pattern(location) for location in locations]

    model, calibration, evaluation = config.model, config.calibration, config.evaluation
    zero_shot = [data_set_with_path(item, resolve) for item in evaluation.zero_shot]
    sides = {name: resolved(getattr(calibration, name)) for name in ("shards", "safe", "unsafe")}
    selection = config.selection
    if selection is not None:
        selection = with_values(selection, {"shards": resolved(selection.shards)})
    return with_values(
        config,
        {
            "model": model_with_paths(model, resolve, base),
            "calibration": with_values(calibration, sides),
            "evaluation": with_values(evaluation, {"shards": resolved(evaluation.shards), "zero_shot": zero_shot}),
            "selection": selection,
            "captioning": captioning_with_paths(config.captioning, resolve),
            "store": with_values(config.store, {"remote": [resolve(url) for url in config.store.remote]}),
        },
    )


def model_with_paths(model: ModelConfig, resolve: Callable[[str], str], base: Path | None) -> ModelConfig:
    """The same model with every local path resolved; what lies in `base` is a file and no pretrained tag."""
    architecture, weights, tokenizer = model.architecture, model.weights, model.tokenizer
    if architecture.endswith(".json"):
        architecture = resolve(architecture)
    if weights is not None and ("/" in weights or Path(weights).suffix or _exists(weights, base)):
        weights = resolve(weights)
    if tokenizer is not None:
        tokenizer = resolve(tokenizer)
    llava = resolve(model.llava) if model.llava is not None else None
    located = {"llava": llava, "architecture": architecture, "weights": weights, "tokenizer": tokenizer}
    return with_values(model, located)


def captioning_with_paths(
    captioning: CaptioningConfig | None, resolve: Callable[[str], str]
) -> CaptioningConfig | None:
    """The same captioning with every local path resolved: of the captioner, of judges, of WordNet."""
    if captioning is None:
        return None
    judges = [
        judge
        if isinstance(judge, OpenAIChatJudge) or judge.path is None
        else with_values(judge, {"path": resolve(judge.path)})
        for judge in captioning.judges
    ]
    metrics = captioning.text_metrics
    if metrics.wordnet != AUTO:
        metrics = with_values(metrics, {"wordnet": resolve(metrics.wordnet)})
    return with_values(captioning, {"model": resolve(captioning.model), "judges": judges, "text_metrics": metrics})


def data_set_with_path(data_set: ZeroShotConfig, resolve: Callable[[str], str]) -> ZeroShotConfig:
    """The same data set with its path resolved."""
    return data_set.model_copy(update={"path": resolve(data_set.path)})


def with_values(settings: _AnySpec, values: Mapping[str, Any]) -> _AnySpec:
    """The same settings with other values; what stays as it is does not count as given."""
    return settings.model_copy(
        update={name: value for name, value in values.items() if value != getattr(settings, name)}
    )


def _exists(name: str, base: Path | None) -> bool:
    # os.path, because a Path raises where a name is longer than file systems take.
    return base is not None and os.path.exists(base / name)  # noqa: PTH110
