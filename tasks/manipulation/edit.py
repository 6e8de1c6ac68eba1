"""An edit as a small file of positions and original values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from data_specs.errors import ArtifactError, SpecError
from tasks.encoders.checkpoint import model_digest, tensor_digests, write_state_dict

_INDEX, _ORIGINAL, _WEIGHT = ".index", ".original", ".weight"


@dataclass(frozen=True)
class LayerEdit:
    """Positions in one layer's weight, flat row-major int64 ascending, and the values that stood there."""

    encoder: str
    index: Tensor
    original: Tensor


@dataclass(frozen=True)
class Edit:
    """W[index] <- alpha W[index], layer by layer.

    `alpha`, `rule` and `tau` are by encoder; `base_model` is the digest of the only model that
    the edit may be applied to.
    """

    base_model: str
    layers: dict[str, LayerEdit]
    alpha: dict[str, float]
    rule: dict[str, str]
    tau: dict[str, float]


def write_edit(edit: Edit, path: Path) -> None:
    """Write an edit as safetensors: `LAYER.index`, `LAYER.original`, the rest as metadata."""
    tensors = {}
    for layer, change in edit.layers.items():
        tensors[layer + _INDEX] = change.index
        tensors[layer + _ORIGINAL] = change.original
    metadata = {
        "format": "unsafe_weights_edit/1",
        "base_model_digest": edit.base_model,
        "alpha": json.dumps(edit.alpha, sort_keys=True),
        "rule": json.dumps(edit.rule, sort_keys=True),
        "tau": json.dumps(edit.tau, sort_keys=True),
        "encoder": json.dumps({layer: change.encoder for layer, change in edit.layers.items()}, sort_keys=True),
    }
    write_state_dict(tensors, path, metadata)


def read_edit(path: Path) -> Edit:
    """Read an edit file.

    Raises:
        SpecError: the file is missing or no edit.
    """
    if not path.is_file():
        raise SpecError(f"edit file {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        encoders = json.loads(metadata["encoder"])
        layers = {
            layer: LayerEdit(encoder, tensors[layer + _INDEX], tensors[layer + _ORIGINAL])
            for layer, encoder in encoders.items()
        }
        return Edit(
            metadata["base_model_digest"],
            layers,
            json.loads(metadata["alpha"]),
            json.loads(metadata["rule"]),
            json.loads(metadata["tau"]),
        )
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise SpecError(f"{path} is not an edit file, expected edit.safetensors as a run makes it: {error}") from error


def apply_edit(edit: Edit, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The edited state dict; the one given stays as it is.

    Args:
        edit: what to change.
        state: tensors of the base model.

    Returns:
        All tensors; edited layers are copies.

    Raises:
        ArtifactError: `state` is another model.
    """
    found = model_digest(tensor_digests(state))
    if found != edit.base_model:
        raise ArtifactError(
            f"the edit is for the model with digest {edit.base_model[:12]}, got one with {found[:12]}; apply it to the"
            " unedited model that it was made for"
        )
    edited = dict(state)
    for layer, change in edit.layers.items():
        weight = _weight(state, layer).clone()
        flat = weight.view(-1)
        flat[change.index] = (edit.alpha[change.encoder] * change.original).to(flat.dtype)
        edited[layer + _WEIGHT] = weight
    return edited


def undo_edit(edit: Edit, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The base model's state dict, bit for bit, from the edited one.

    Args:
        edit: what was changed.
        state: tensors of the edited model.

    Returns:
        All tensors; edited layers are copies.

    Raises:
        ArtifactError: what comes out is not the base model, so `state` was not this edit's result.
    """
    restored = dict(state)
    for layer, change in edit.layers.items():
        weight = _weight(state, layer).clone()
        weight.view(-1)[change.index] = change.original.to(weight.dtype)
        restored[layer + _WEIGHT] = weight
    found = model_digest(tensor_digests(restored))
    if found != edit.base_model:
        raise ArtifactError(
            f"undoing the edit gives a model with digest {found[:12]}, expected {edit.base_model[:12]}; the model is not"
            " the one that this edit made"
        )
    return restored


def _weight(state: Mapping[str, Tensor], layer: str) -> Tensor:
    weight = state.get(layer + _WEIGHT)
    if weight is None:
        raise ArtifactError(f"the edit changes layer {layer}, which the model does not have; it is for another model")
    return weight.contiguous()


def positions(index: object, weight: Tensor, encoder: str) -> LayerEdit:
    """The edit of one layer from selected flat positions of its weight [out, in]."""
    selected = torch.as_tensor(index, dtype=torch.int64)
    return LayerEdit(encoder, selected, weight.detach().cpu().contiguous().view(-1)[selected].clone())
