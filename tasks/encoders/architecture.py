"""An open_clip architecture as data: what it is built from, with an attention whose layers can be observed."""

import json
import logging
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data_specs.errors import SpecError
from data_specs.run_config import HUB, Encoder, ModelConfig
from tasks.encoders.foreign_code import nothing_runs_or_asks, require_data_only, write_text_tower
from tasks.encoders.hub import hub_calls, said_by_library
from tasks.encoders.model_json import CONFIG, read_json
from tasks.encoders.tokenizer import Tokenizer, build_tokenizer, has_tokenizer, padding_id, tokenizer_digest
from tasks.encoders.tokens import PADDING_ID
from tasks.encoders.transformers_config import fitted_architecture, square
from tasks.encoders.transformers_format import is_folder_of_weights, locate_checkpoint
from tasks.encoders.transformers_images import preprocessing

LOCAL = "local-dir:"
OPEN_CLIP_CONFIG = "open_clip_config.json"

Preprocess = Callable[[Any], torch.Tensor]


@dataclass(frozen=True)
class Architecture:
    """Everything needed to build a model but its weights.

    `model_cfg` and `preprocess_cfg` are those of an `open_clip_config.json`. `tokenizer_name` is
    what `open_clip.get_tokenizer` takes, None for a tokenizer that the config describes, or the
    digest of the one in `tokenizer_folder`: what it is belongs to a recipe, where it lies does not.
    """

    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    tokenizer_name: str | None
    tokenizer_folder: Path | None = field(default=None, compare=False)

    def config_json(self) -> str:
        """The text of an `open_clip_config.json` that builds this model."""
        content = {"model_cfg": self.model_cfg, "preprocess_cfg": self.preprocess_cfg}
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    def of(self, encoder: Encoder) -> dict[str, Any]:
        """What decides one encoder's outputs beside its weights: nothing of the other tower or of its inputs."""
        other = "vision_cfg" if encoder == "text" else "text_cfg"
        own = {"tokenizer": self.tokenizer_name} if encoder == "text" else {"preprocess_cfg": self.preprocess_cfg}
        return {"model_cfg": {name: part for name, part in self.model_cfg.items() if name != other}, **own}


def describe_architecture(config: ModelConfig) -> Architecture:
    """Find out what a model is built from.

    Args:
        config: `architecture` is an open_clip name, `hf-hub:ORG/NAME` or the path of a `.json`;
            weights in transformers' format bring their activation and preprocessing with them.

    Returns:
        The architecture as published, with the tokenizer of the settings where they name one.

    Raises:
        SpecError: the name is unknown, the file is not a model config, or tokenizer or weights are
            those of another model.
    """
    name = config.architecture
    if name.endswith(".json"):
        architecture = _read_config_file(Path(name))
    elif name.startswith(HUB):
        architecture = _read_hub_config(name)
    else:
        architecture = _look_up(name, config.weights)
    require_data_only(architecture.model_cfg)
    if config.weights is not None and is_folder_of_weights(config.weights):
        architecture = _with_checkpoint(architecture, config.weights)
    return architecture if config.tokenizer is None else _with_tokenizer(architecture, Path(config.tokenizer))


def _look_up(name: str, weights: str | None) -> Architecture:
    import open_clip
    from open_clip.factory import PreprocessCfg, get_pretrained_cfg

    model_cfg = open_clip.get_model_config(name)
    if model_cfg is None:
        close = get_close_matches(name, open_clip.list_models(), n=6, cutoff=0.5)
        raise SpecError(
            f"model.architecture {name!r} is no open_clip model, hf-hub: name or .json file; similar names are"
            f" {', '.join(close) or ', '.join(open_clip.list_models()[:6])}"
        )
    model_cfg = deepcopy(model_cfg)
    tag = get_pretrained_cfg(name, weights) if weights else {}
    known_fields = PreprocessCfg.__dataclass_fields__
    if tag and tag.get("quick_gelu", False) != model_cfg.get("quick_gelu", False):
        # open_clip only warns here and then runs the weights with an activation they were not trained with.
        model_cfg["quick_gelu"] = tag.get("quick_gelu", False)
    preprocess_cfg = {key: value for key, value in (tag or {}).items() if key in known_fields}
    return Architecture(model_cfg, _plain(preprocess_cfg), name)


def _with_checkpoint(architecture: Architecture, weights: str) -> Architecture:
    folder = locate_checkpoint(weights)
    model_cfg = fitted_architecture(architecture.model_cfg, read_json(folder / CONFIG, "model.weights"), weights)
    asked = preprocessing(folder, square(model_cfg["vision_cfg"].get("image_size", 224)))
    return replace(architecture, model_cfg=model_cfg, preprocess_cfg=architecture.preprocess_cfg | asked)


def _with_tokenizer(architecture: Architecture, folder: Path) -> Architecture:
    return replace(architecture, tokenizer_name=tokenizer_digest(folder), tokenizer_folder=folder)


def _read_config_file(path: Path) -> Architecture:
    content = read_json(path, "model.architecture")
    model_cfg = content.get("model_cfg", content)
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - (model_cfg.keys() if isinstance(model_cfg, dict) else set())
    if missing:
        raise SpecError(
            f"model.architecture: {path} is no open_clip model config, it lacks {', '.join(sorted(missing))}"
        )
    preprocess_cfg = content.get("preprocess_cfg", {}) if model_cfg is not content else {}
    require_data_only(model_cfg)
    if not isinstance(preprocess_cfg, dict):
        raise SpecError(f"model.architecture: {path}: preprocess_cfg is {type(preprocess_cfg).__name__}, not an object")
    architecture = Architecture(model_cfg, preprocess_cfg, None)
    # As open_clip does with a local-dir: that has the tokenizer which its config speaks of.
    beside = model_cfg["text_cfg"].get("hf_tokenizer_name") and has_tokenizer(path.parent)
    return _with_tokenizer(architecture, path.parent) if beside else architecture


def _read_hub_config(name: str) -> Architecture:
    from open_clip.factory import _get_hf_config

    try:
        with hub_calls():
            content = _get_hf_config(name.removeprefix(HUB))
        return Architecture(content["model_cfg"], content.get("preprocess_cfg", {}), name)
    except Exception as error:  # hub errors have no common base
        raise SpecError(
            f"model.architecture: cannot get {name}: {said_by_library(error)}; off-line, use files; a checkpoint in"
            " transformers' format goes into model.weights, with an open_clip name as architecture"
        ) from error


def build_model(architecture: Architecture) -> tuple[nn.Module, Preprocess, Tokenizer]:
    """Build a model with random weights, its preprocessing and its tokenizer.

    Both towers get open_clip's own `block_type: custom`, whose attention calls its output
    projection; `nn.MultiheadAttention` reads the projection's weight without calling it, so no
    hook would ever see its input. State-dict keys stay the same, outputs equal to rounding.

    Args:
        architecture: what to build.

    Returns:
        The model on the CPU in float32, in evaluation mode; images to [3, height, width]; texts
        to [n, context].

    Raises:
        SpecError: open_clip cannot build it.
    """
    import open_clip

    require_data_only(architecture.model_cfg)
    observed = replace(architecture, model_cfg=_with_observable_attention(architecture.model_cfg))
    text_cfg = architecture.model_cfg["text_cfg"]
    before = logging.getLogger().level
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        if text_cfg.get("hf_model_name"):
            observed.model_cfg["text_cfg"]["hf_model_name"] = write_text_tower(text_cfg["hf_model_name"], Path(folder))
        (Path(folder) / OPEN_CLIP_CONFIG).write_text(observed.config_json(), encoding="utf-8")
        logging.getLogger().setLevel(logging.ERROR)
        try:
            with nothing_runs_or_asks():
                model, _, preprocess = open_clip.create_model_and_transforms(
                    LOCAL + folder, load_weights=False, pretrained_image=False, pretrained_text=False
                )
            # The folder holds the config that a hub name stands for, so nothing is asked twice.
            named = architecture.tokenizer_name
            name = LOCAL + folder if named is None or named.startswith(HUB) else named
            tokenizer = build_tokenizer(text_cfg, name, architecture.tokenizer_folder)
        except SpecError:
            raise
        except Exception as error:  # open_clip raises whatever its parts raise
            raise SpecError(f"model.architecture: open_clip cannot build it: {said_by_library(error)}") from error
        finally:
            logging.getLogger().setLevel(before)
    setattr(model, PADDING_ID, padding_id(tokenizer))
    return model.eval(), preprocess, tokenizer


def _with_observable_attention(model_cfg: dict[str, Any]) -> dict[str, Any]:
    changed = deepcopy(model_cfg)
    for tower, foreign in (("vision_cfg", "timm_model_name"), ("text_cfg", "hf_model_name")):
        if not changed[tower].get(foreign):
            changed[tower]["block_type"] = "custom"
    return changed


def _plain(mapping: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in mapping.items()}
