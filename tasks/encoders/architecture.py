"""An open_clip architecture as data: what it is built from, with an attention whose layers can be observed."""

import json
import logging
import os
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig

HUB = "hf-hub:"
LOCAL = "local-dir:"
OPEN_CLIP_CONFIG = "open_clip_config.json"

Tokenizer = Callable[[list[str]], torch.Tensor]
Preprocess = Callable[[Any], torch.Tensor]


@dataclass(frozen=True)
class Architecture:
    """Everything needed to build a model but its weights.

    `model_cfg` and `preprocess_cfg` are those of an `open_clip_config.json`; `tokenizer_name`
    is what `open_clip.get_tokenizer` takes, or None for a tokenizer that the config describes.
    """

    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    tokenizer_name: str | None

    def config_json(self) -> str:
        """The text of an `open_clip_config.json` that builds this model."""
        content = {"model_cfg": self.model_cfg, "preprocess_cfg": self.preprocess_cfg}
        return json.dumps(content, indent=1, sort_keys=True) + "\n"


def describe_architecture(config: ModelConfig) -> Architecture:
    """Find out what a model is built from.

    Args:
        config: `architecture` is an open_clip name, `hf-hub:ORG/NAME` or the path of a `.json`.

    Returns:
        The architecture as published.

    Raises:
        SpecError: the name is unknown, or the file is not a model config.
    """
    import open_clip
    from open_clip.factory import PreprocessCfg, get_pretrained_cfg

    name = config.architecture
    if name.endswith(".json"):
        return _read_config_file(Path(name))
    if name.startswith(HUB):
        return _read_hub_config(name)
    model_cfg = open_clip.get_model_config(name)
    if model_cfg is None:
        close = [known for known in open_clip.list_models() if known.lower().startswith(name.lower()[:5])]
        raise SpecError(
            f"model.architecture {name!r} is no open_clip model, hf-hub: name or .json file; similar names are"
            f" {', '.join(close[:6]) or ', '.join(open_clip.list_models()[:6])}"
        )
    model_cfg = deepcopy(model_cfg)
    tag = get_pretrained_cfg(name, config.weights) if config.weights else {}
    known_fields = PreprocessCfg.__dataclass_fields__
    if tag and tag.get("quick_gelu", False) != model_cfg.get("quick_gelu", False):
        # open_clip only warns here and then runs the weights with an activation they were not trained with.
        model_cfg["quick_gelu"] = tag.get("quick_gelu", False)
    preprocess_cfg = {key: value for key, value in (tag or {}).items() if key in known_fields}
    return Architecture(model_cfg, _plain(preprocess_cfg), name)


def _read_config_file(path: Path) -> Architecture:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SpecError(f"model.architecture: cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise SpecError(f"model.architecture: {path} holds {type(content).__name__}, expected a JSON object")
    model_cfg = content.get("model_cfg", content)
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - model_cfg.keys()
    if missing:
        raise SpecError(
            f"model.architecture: {path} is no open_clip model config, it lacks {', '.join(sorted(missing))}"
        )
    return Architecture(model_cfg, content.get("preprocess_cfg", {}) if model_cfg is not content else {}, None)


def _read_hub_config(name: str) -> Architecture:
    from open_clip.factory import _get_hf_config

    try:
        content = _get_hf_config(name.removeprefix(HUB))
        return Architecture(content["model_cfg"], content.get("preprocess_cfg", {}), name)
    except Exception as error:  # hub errors have no common base
        raise SpecError(f"model.architecture: cannot get {name}: {_first_line(error)}; off-line, use files") from error


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

    observed = Architecture(_with_observable_attention(architecture.model_cfg), architecture.preprocess_cfg, None)
    before = logging.getLogger().level
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        (Path(folder) / OPEN_CLIP_CONFIG).write_text(observed.config_json(), encoding="utf-8")
        logging.getLogger().setLevel(logging.ERROR)
        try:
            model, _, preprocess = open_clip.create_model_and_transforms(
                LOCAL + folder, load_weights=False, pretrained_image=False, pretrained_text=False
            )
            tokenizer = open_clip.get_tokenizer(architecture.tokenizer_name or LOCAL + folder)
        except Exception as error:  # open_clip raises whatever its parts raise
            raise SpecError(f"model.architecture: open_clip cannot build it: {_first_line(error)}") from error
        finally:
            logging.getLogger().setLevel(before)
    return model.eval(), preprocess, tokenizer


def _with_observable_attention(model_cfg: dict[str, Any]) -> dict[str, Any]:
    changed = deepcopy(model_cfg)
    for tower, foreign in (("vision_cfg", "timm_model_name"), ("text_cfg", "hf_model_name")):
        if not changed[tower].get(foreign):
            changed[tower]["block_type"] = "custom"
    return changed


def _plain(mapping: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in mapping.items()}


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def stay_offline_without_hub() -> None:
    """Make hub look-ups fail at once where the user asked for no network; call before open_clip is imported."""
    if os.environ.get("UWM_OFFLINE"):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
