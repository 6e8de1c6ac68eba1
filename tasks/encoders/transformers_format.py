"""Checkpoints of transformers' `CLIPModel`: their tensors under open_clip's names, and back."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from data_specs.errors import SpecError
from data_specs.run_config import HUB
from tasks.encoders.checkpoint import SAFETENSORS, read_state_dict
from tasks.encoders.hub import download_files
from tasks.encoders.model_json import CONFIG, read_json
from tasks.encoders.transformers_images import PREPROCESSOR
from tasks.encoders.weights_file import read_weights, unwrapped_names

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

# transformers' name -> open_clip's; of those under `_TRANSPOSED`, open_clip keeps the matrix that multiplies from the right.
_WHOLE = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "visual_projection.weight": "visual.proj",
}
_TRANSPOSED = frozenset({"text_projection.weight", "visual_projection.weight"})
_STACKS = {
    "text_model.encoder.layers": "transformer.resblocks",
    "vision_model.encoder.layers": "visual.transformer.resblocks",
}
_IN_BLOCK = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_JOINED = ("q", "k", "v")
_THEIRS = re.compile(r"^((?:text|vision)_model\.encoder\.layers)\.(\d+)\.(.+)\.(weight|bias)$")
_OURS = re.compile(r"^((?:visual\.)?transformer\.resblocks)\.(\d+)\.(.+?)[._](weight|bias)$")
# Buffers that older versions saved.
_DROPPED = re.compile(r"\.embeddings\.position_ids$")


def is_folder_of_weights(weights: str | None) -> bool:
    """Whether `model.weights` names a folder or a hub repository, so a checkpoint in transformers' format."""
    return weights is not None and (weights.startswith(HUB) or (Path(weights).is_absolute() and Path(weights).is_dir()))


def is_transformers_name(name: str) -> bool:
    """Whether a tensor's name is one that a CLIPModel gives."""
    return name.startswith(("text_model.", "vision_model."))


def locate_checkpoint(weights: str) -> Path:
    """The folder of a checkpoint in transformers' format, downloaded where it lies on the hub.

    Raises:
        SpecError: the hub does not have it, or the folder holds no `config.json`.
    """
    folder = Path(weights)
    if weights.startswith(HUB):
        folder = download_files(
            weights, [CONFIG, PREPROCESSOR, WEIGHTS, INDEX, "model-*-of-*" + SAFETENSORS], "model.weights"
        )
    if not (folder / CONFIG).is_file():
        hint = ""
        if (folder / "open_clip_config.json").is_file():
            hint = (
                "; it is an open_clip folder, so name its open_clip_config.json as architecture and its file as weights"
            )
        raise SpecError(f"model.weights {weights} holds no {CONFIG} of a transformers CLIPModel{hint}")
    return folder


def read_checkpoint(folder: Path) -> dict[str, Tensor]:
    """A CLIPModel's tensors under open_clip's names, from one safetensors file or from the shards of an index.

    Raises:
        SpecError: a file is missing or damaged, or the tensors are not a CLIPModel's.
    """
    if (folder / WEIGHTS).is_file():
        return to_open_clip(read_state_dict(folder / WEIGHTS), str(folder))
    if not (folder / INDEX).is_file():
        others = sorted(path.name for ending in ("bin", "pth", "pt", "ckpt") for path in folder.glob(f"*.{ending}"))
        found = f"; {', '.join(others[:3])} is not read, save it as safetensors" if others else ""
        raise SpecError(f"model.weights {folder} holds neither {WEIGHTS} nor {INDEX}{found}")
    places = read_json(folder / INDEX, "model.weights").get("weight_map")
    names = set(places.values()) if isinstance(places, dict) else set()
    # An index comes with the checkpoint: it may name files beside it, not elsewhere.
    strange = [name for name in names if not str(name).endswith(SAFETENSORS) or Path(str(name)).name != name]
    if not isinstance(places, dict) or not names or strange:
        raise SpecError(
            f"model.weights: {folder / INDEX} must name safetensors files beside it, got {strange or places}"
        )
    state: dict[str, Tensor] = {}
    for name in sorted(names):
        # A prefix that all tensors share is known only when all shards are read.
        shard = read_weights(folder / name, rename=False).state
        lacking = sorted({key for key, place in places.items() if place == name} - shard.keys())
        if lacking:
            raise SpecError(f"model.weights: {folder / name} lacks {lacking[0]}, which {INDEX} promises")
        state |= {key: value for key, value in shard.items() if places.get(key) == name}
    return to_open_clip(unwrapped_names(state, str(folder)), str(folder))


def to_open_clip(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Rename and reshape the tensors of a CLIPModel.

    Args:
        state: under transformers' names.
        source: named in errors.

    Returns:
        Under the names of open_clip's CLIP; queries, keys and values stand below each other in one
        tensor, and the two projections are transposed.

    Raises:
        SpecError: a tensor is none of a CLIPModel's, or a block lacks one of its three.
    """
    converted: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for name, tensor in state.items():
        match = _THEIRS.match(name)
        if name in _WHOLE:
            converted[_WHOLE[name]] = tensor.T.contiguous() if name in _TRANSPOSED else tensor
        elif match and match[3] in _IN_BLOCK:
            converted[f"{_STACKS[match[1]]}.{match[2]}.{_IN_BLOCK[match[3]]}.{match[4]}"] = tensor
        elif match and match[3] in [f"self_attn.{part}_proj" for part in _JOINED]:
            target = f"{_STACKS[match[1]]}.{match[2]}.attn.in_proj_{match[4]}"
            parts.setdefault(target, {})[match[3].removeprefix("self_attn.")[0]] = tensor
        elif not _DROPPED.search(name):
            unknown.append(name)
    if unknown:
        raise SpecError(
            f"model.weights {source}: tensor {unknown[0]} and {len(unknown) - 1} more are none of a CLIPModel's; other"
            " models of transformers are not read"
        )
    for target, found in parts.items():
        if len(found) < len(_JOINED):
            raise SpecError(
                f"model.weights {source}: of {target}'s queries, keys and values only {', '.join(found)} are there"
            )
        converted[target] = torch.cat([found[part] for part in _JOINED])
    return converted


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_open_clip`, bit for bit.

    Args:
        state: of an open_clip model with plain CLIP towers, its text tower a module of its own or not.

    Returns:
        Under the names of transformers' CLIPModel, each tensor contiguous.

    Raises:
        SpecError: a tensor has no place in a CLIPModel.
    """
    whole = {ours: theirs for theirs, ours in _WHOLE.items()}
    stacks = {ours: theirs for theirs, ours in _STACKS.items()}
    in_block = {ours: theirs for theirs, ours in _IN_BLOCK.items()}
    converted: dict[str, Tensor] = {}
    for full_name, tensor in state.items():
        name = full_name.removeprefix("text.")
        match = _OURS.match(name)
        if name in whole:
            theirs = whole[name]
            value = tensor.T.contiguous() if theirs in _TRANSPOSED else tensor
            converted[theirs] = value.reshape(()) if name == "logit_scale" else value
        elif match and match[3] in in_block:
            converted[f"{stacks[match[1]]}.{match[2]}.{in_block[match[3]]}.{match[4]}"] = tensor
        elif match and match[3] == "attn.in_proj":
            for part, value in zip(_JOINED, tensor.chunk(len(_JOINED)), strict=True):
                # Slices of one tensor share its memory, which safetensors refuses to write.
                converted[f"{stacks[match[1]]}.{match[2]}.self_attn.{part}_proj.{match[4]}"] = value.clone()
        else:
            raise SpecError(
                f"transformers' CLIPModel has no place for tensor {full_name}; it is of another model family"
            )
    return converted


def linear_in_transformers(layer: str) -> str | None:
    """The name in a CLIPModel of the linear layer that open_clip calls so; None where a CLIPModel has none for it."""
    match = _OURS.match(f"{layer.removeprefix('text.')}.weight")
    if match is None or match[3] not in _IN_BLOCK.values():
        return None
    stack = next(theirs for theirs, ours in _STACKS.items() if ours == match[1])
    inside = next(theirs for theirs, ours in _IN_BLOCK.items() if ours == match[3])
    return f"{stack}.{match[2]}.{inside}"
