"""What a weights file does not say of its model: the activation function, and how images are prepared."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig
from tasks.encoders.architecture import OPEN_CLIP_CONFIG, Architecture
from tasks.encoders.model_json import read_json
from tasks.lineage.progress import notice

_QUICK = "-quickgelu"
_IMAGES = ("mean", "std", "interpolation", "resize_mode")


def with_what_a_file_leaves_open(
    architecture: Architecture, config: ModelConfig, path: Path, said: bool | None
) -> Architecture:
    """Settle what neither a named architecture nor a weights file says, and tell the user what was taken.

    Args:
        architecture: of the settings.
        config: the settings; a model config `.json` and a pretrained tag say everything themselves.
        path: the weights file.
        said: what the file says of its activation: QuickGELU or not, None for nothing.

    Returns:
        The architecture that the weights are run with.

    Raises:
        SpecError: an `open_clip_config.json` beside the file cannot be read.
    """
    name = config.architecture
    if name.endswith(".json"):
        return architecture
    beside = _described_beside(architecture, path)
    if beside is not None:
        asked = beside.model_cfg if config.quick_gelu is None else architecture.model_cfg
        found = replace(architecture, model_cfg=asked, preprocess_cfg=beside.preprocess_cfg)
        if found != architecture:
            what = "activation and preprocessing are" if config.quick_gelu is None else "preprocessing is"
            notice(f"model.weights {path}: {what} as in {OPEN_CLIP_CONFIG} beside it")
        return found
    if config.quick_gelu is None:
        architecture = _with_activation(architecture, name, path, said)
    return _with_preprocessing(architecture, name, path)


def _described_beside(architecture: Architecture, path: Path) -> Architecture | None:
    beside = path.parent / OPEN_CLIP_CONFIG
    if not beside.is_file():
        return None
    content = read_json(beside, "model.weights")
    model_cfg, preprocess_cfg = content.get("model_cfg"), content.get("preprocess_cfg", {})
    if not isinstance(model_cfg, dict) or not isinstance(preprocess_cfg, dict):
        return None
    same = _without_activation(model_cfg) == _without_activation(architecture.model_cfg)
    return replace(architecture, model_cfg=model_cfg, preprocess_cfg=preprocess_cfg) if same else None


def _without_activation(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model_cfg.items() if key != "quick_gelu"}


def _with_activation(architecture: Architecture, name: str, path: Path, said: bool | None) -> Architecture:
    import open_clip

    taken = bool(architecture.model_cfg.get("quick_gelu", False))
    if said is not None and said != taken and foreign_tower(architecture.model_cfg) is None:
        notice(f"model.weights {path} says that it uses {_word(said)}, so {_word(taken)} of {name} is not used")
        return replace(architecture, model_cfg={**architecture.model_cfg, "quick_gelu": said})
    if said is None and not name.endswith(_QUICK) and name + _QUICK in open_clip.list_models():
        notice(
            f"model.weights {path} does not say its activation: {_word(taken)} is used, as {name} says; weights"
            f" fine-tuned from OpenAI's need model.quick_gelu: true (false ends this notice)"
        )
    return architecture


def _word(quick_gelu: bool) -> str:
    return "QuickGELU" if quick_gelu else "GELU"


def _with_preprocessing(architecture: Architecture, name: str, path: Path) -> Architecture:
    from open_clip.transform import PreprocessCfg

    default = _images(PreprocessCfg().__dict__)
    published = dict(_published(name))
    others = [tag for tag, images in published.items() if images != default]
    if not others:
        return architecture
    images = published[others[0]]
    if all(other == images for other in published.values()):
        notice(
            f"model.weights {path} does not say how images are prepared: as for {name}'s published weights, mean"
            f" {images['mean']}, std {images['std']}, {images['interpolation']}, {images['resize_mode']}"
        )
        return replace(architecture, preprocess_cfg={**architecture.preprocess_cfg, **images})
    notice(
        f"model.weights {path} does not say how images are prepared: with open_clip's default, mean"
        f" {[round(value, 3) for value in default['mean']]}; {', '.join(others[:2])} of {name} take others, which a"
        " model config .json with preprocess_cfg sets"
    )
    return architecture


def _published(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    for tag in list_pretrained_tags_by_model(name):
        yield tag, _images(get_pretrained_cfg(name, tag))


def _images(cfg: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(cfg[key]) if isinstance(cfg[key], tuple) else cfg[key] for key in _IMAGES}


def foreign_tower(model_cfg: Mapping[str, Any]) -> str | None:
    """The tower that timm or transformers builds, with an activation of its own; None where open_clip builds both."""
    for tower, key in (("vision_cfg", "timm_model_name"), ("text_cfg", "hf_model_name")):
        if model_cfg[tower].get(key):
            return f"{tower}.{key} {str(model_cfg[tower][key])[:60]!r}"
    return None


def with_activation_asked(architecture: Architecture, asked: bool | None, stated_by: str | None) -> Architecture:
    """The architecture with the activation of the settings, where they name one.

    Args:
        architecture: as published.
        asked: `model.quick_gelu`.
        stated_by: what says the activation already; None where nothing does.

    Raises:
        SpecError: the activation is known to be the other one, or a tower has one of its own.
    """
    if asked is None:
        return architecture
    tower = foreign_tower(architecture.model_cfg)
    if tower is not None:
        raise SpecError(
            f"model.quick_gelu is {str(asked).lower()}, but {tower} has an activation of its own; remove the setting"
        )
    known = bool(architecture.model_cfg.get("quick_gelu", False))
    if known == asked:
        return architecture
    if stated_by is not None:
        raise SpecError(
            f"model.quick_gelu is {str(asked).lower()}, but {stated_by} says {_word(known)}; remove the setting"
        )
    return replace(architecture, model_cfg={**architecture.model_cfg, "quick_gelu": asked})
