"""A model ready for use: weights checked against the architecture, digests taken."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from data_specs.errors import SpecError
from data_specs.families import UNUSED_PREFIXES
from data_specs.run_config import HUB, Encoder, ModelConfig
from tasks.encoders.architecture import Architecture, Preprocess, build_model, describe_architecture
from tasks.encoders.checkpoint import encoder_digest, model_digest, tensor_digests
from tasks.encoders.hub import hub_calls, said_by_library
from tasks.encoders.layers import target_layers
from tasks.encoders.model_json import read_json
from tasks.encoders.reference import ModelFiles
from tasks.encoders.tokenizer import Tokenizer
from tasks.encoders.transformers_format import (
    is_folder_of_weights,
    is_transformers_name,
    locate_checkpoint,
    read_checkpoint,
)
from tasks.encoders.unstated import foreign_tower, with_activation_asked, with_what_a_file_leaves_open
from tasks.encoders.weights_file import read_weights
from tasks.lineage.progress import notice

_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


class ModelRef(Protocol):
    """Names a model by value: any process that reaches its files can open it."""

    @property
    def digest(self) -> str:
        """Digest of all its tensors."""

    def opened(self) -> AbstractContextManager["LoadedModel"]:
        """The model, for as long as the block lasts; its files are read once in a process."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode, float32, with what its inputs go through."""

    model: nn.Module
    preprocess: Preprocess
    tokenizer: Tokenizer
    architecture: Architecture
    digests: dict[str, str]
    source: str
    reference: ModelRef | None = None

    @property
    def digest(self) -> str:
        """Digest of all its tensors."""
        return model_digest(self.digests)

    @property
    def files(self) -> ModelRef:
        """The same model by value.

        Raises:
            SpecError: it was made in memory, so that no other process could open it.
        """
        if self.reference is None:
            raise SpecError(f"model {self.source} is of no file, so its parts can be made in this process only")
        return self.reference

    def encoder_digest(self, encoder: Encoder) -> str:
        """Digest of one encoder's tensors."""
        return encoder_digest(self.digests, encoder)

    def target_weights(self, encoder: Encoder, layers: str) -> dict[str, Tensor]:
        """The weights [out, in] of the layers that `layers` names in one encoder, by layer name."""
        found = target_layers(self.model, encoder, layers)
        return {name: layer.weight.detach() for name, layer in found.items()}


def load_model(config: ModelConfig) -> LoadedModel:
    """Build the model of a config with its weights.

    Args:
        config: architecture and weights.

    Returns:
        The model on the CPU.

    Raises:
        SpecError: architecture or weights are unknown, unreadable or do not fit each other.
    """
    loaded = _load(config)
    return replace(loaded, reference=ModelFiles(config, loaded.digest))


def _load(config: ModelConfig) -> LoadedModel:
    if config.llava is not None:
        from tasks.encoders.llava.tower import load_tower

        return load_tower(config.llava)
    architecture = with_activation_asked(describe_architecture(config), config.quick_gelu, _states_activation(config))
    if config.weights is not None and is_folder_of_weights(config.weights):
        return load_weights(architecture, read_checkpoint(locate_checkpoint(config.weights)), source=config.weights)
    path = _find_weights(config)
    weights = read_weights(path)
    if not _is_published(config):
        architecture = with_what_a_file_leaves_open(architecture, config, path, weights.quick_gelu)
        if any(tensor.dtype == torch.float64 for tensor in weights.state.values()):
            notice(f"model.weights {path} are stored in float64 and rounded to float32")
    return load_weights(architecture, weights.state, source=str(path))


def require_model_files(config: ModelConfig) -> None:
    """Refuse a model whose files are not there, before anything is started; a hub is not asked.

    Raises:
        SpecError: the architecture is unknown, or the weights are no file, folder or published tag.
    """
    if config.llava is not None:
        if not config.llava.startswith(HUB):
            from tasks.encoders.llava.folder import locate_llava, open_llava

            open_llava(locate_llava(config.llava, "model.llava"), "model.llava")
        return
    if config.architecture.startswith(HUB):
        return
    describe_architecture(config)
    if config.weights is not None and not is_folder_of_weights(config.weights) and not _is_published(config):
        _find_weights(config)


def stated_quick_gelu(config: ModelConfig, architecture: Architecture) -> bool | None:
    """Whether a loaded model runs with QuickGELU, where the settings or what they name say so.

    Returns:
        None where it was assumed, as for a weights file that does not say, or where a tower has an activation of its own.
    """
    cfg = architecture.model_cfg
    if foreign_tower(cfg) is not None:
        return None
    stated = config.quick_gelu is not None or "quick_gelu" in cfg or _states_activation(config) is not None
    return bool(cfg.get("quick_gelu", False)) if stated else None


def _is_published(config: ModelConfig) -> bool:
    from open_clip.pretrained import get_pretrained_cfg

    return config.weights is None or bool(get_pretrained_cfg(config.architecture, config.weights))


def _states_activation(config: ModelConfig) -> str | None:
    if config.weights is None:
        return config.architecture
    if is_folder_of_weights(config.weights) or _is_published(config):
        return f"model.weights {config.weights}"
    path = Path(config.architecture)
    if path.suffix != ".json":
        return None
    content = read_json(path, "model.architecture")
    return str(path) if "quick_gelu" in content.get("model_cfg", content) else None


def load_weights(architecture: Architecture, state: dict[str, Tensor], *, source: str) -> LoadedModel:
    """Build a model and give it the tensors of a state dict, all of them and no others.

    Args:
        architecture: what to build.
        state: tensors by name, in open_clip's naming or one that open_clip converts.
        source: named in errors.

    Returns:
        The model on the CPU.

    Raises:
        SpecError: names or shapes do not fit, or a tensor that is used holds NaN or infinity.
    """
    model, preprocess, tokenizer = build_model(architecture)
    fitting = _converted(model, state, source)
    require_weights(model, fitting, source)
    model.load_state_dict(fitting)
    return LoadedModel(model, preprocess, tokenizer, architecture, tensor_digests(model.state_dict()), source)


def require_weights(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse tensors that are not those of a model, all of them and no others.

    Raises:
        SpecError: names or shapes do not fit, or a tensor that is used holds NaN or infinity.
    """
    _require_fit(model.state_dict(), state, source)
    _require_numbers(model.state_dict(), state, source)


def _require_fit(expected: Mapping[str, Tensor], got: Mapping[str, Tensor], source: str) -> None:
    missing, strange = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
    groups = [
        [f"{name} is missing" for name in missing],
        [f"{name} is not part of it" for name in strange],
        [
            f"{name} is {list(got[name].shape)}, not {list(expected[name].shape)}"
            for name in sorted(expected.keys() & got.keys())
            if got[name].shape != expected[name].shape
        ],
    ]
    # One of each first: what was found beside what is missing tells the two names of one thing.
    problems = [group[0] for group in groups if group] + [line for group in groups for line in group[1:]]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        hint = ""
        if is_transformers_name(strange[0] if strange else ""):
            hint = "; these are names of transformers' CLIPModel: give its folder, with config.json, as model.weights"
        raise SpecError(f"model.weights {source} do not fit the architecture: {'; '.join(problems[:3])}{more}{hint}")


def _require_numbers(expected: Mapping[str, Tensor], got: Mapping[str, Tensor], source: str) -> None:
    for name, tensor in got.items():
        if expected[name].is_floating_point() and tensor.dtype not in _FLOATS:
            raise SpecError(
                f"model.weights {source}: tensor {name} is {str(tensor.dtype).removeprefix('torch.')}, a quantised"
                " checkpoint; give the one in float16, bfloat16 or float32"
            )
        # open_clip leaves a projection of CoCa's decoder as the memory was; nothing here runs the decoder.
        used = not name.startswith(UNUSED_PREFIXES)
        # In float32, as the model will have it: a float64 may be too large for that.
        if used and tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise SpecError(f"model.weights {source}: tensor {name} holds NaN or infinite values")


def _converted(model: nn.Module, state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    try:
        converted: dict[str, Tensor] = convert_state_dict(model, dict(state))
    except (KeyError, RuntimeError, ValueError, AttributeError) as error:
        raise SpecError(f"model.weights {source} cannot be converted to open_clip's names: {error}") from error
    if "positional_embedding" in converted and not hasattr(model, "positional_embedding"):
        converted = convert_to_custom_text_state_dict(converted)
    converted.pop("text.transformer.embeddings.position_ids", None)
    for name in ("logit_scale", "logit_bias"):
        parameter = getattr(model, name, None)
        if name in converted and isinstance(parameter, Tensor) and converted[name].numel() == parameter.numel():
            converted[name] = converted[name].reshape(parameter.shape)
    return converted


def _find_weights(config: ModelConfig) -> Path:
    from open_clip.pretrained import (
        download_pretrained,
        download_pretrained_from_hf,
        get_pretrained_cfg,
        list_pretrained_tags_by_model,
    )

    try:
        if config.weights is None:
            with hub_calls():
                return Path(download_pretrained_from_hf(config.architecture.removeprefix(HUB)))
        tag = get_pretrained_cfg(config.architecture, config.weights)
        if tag:
            with hub_calls():
                return Path(download_pretrained(tag))
    except Exception as error:  # hub errors have no common base
        raise SpecError(
            f"model.weights: cannot download {config.weights or config.architecture}: {said_by_library(error)}"
        ) from error
    path = Path(config.weights)
    if not path.is_file():
        tags = ", ".join(list_pretrained_tags_by_model(config.architecture)[:8])
        known = f"; tags of {config.architecture} are {tags}" if tags else ""
        raise SpecError(f"model.weights {config.weights!r} is no file, no folder and no pretrained tag{known}")
    return path
