"""An edit as a small file of positions and original values."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from data_specs.errors import ArtifactError, SpecError
from data_specs.json_text import parse_json
from data_specs.wording import SHOWN_LENGTH, one_line, printable, shortened, shown
from tasks.encoders.checkpoint import write_state_dict
from tasks.lineage.contents import check_beside_manifest
from tasks.lineage.digest import canonical_json
from tasks.manipulation.edit import Edit, LayerEdit, require_sound

EDIT_FILE = "edit.safetensors"
_INDEX, _ORIGINAL = ".index", ".original"
_FORMAT, _DIGEST = "unsafe_weights_edit/1", "content_sha256"
_KNOWN = frozenset({"format", "base_model_digest", "alpha", "rule", "tau", "encoder", _DIGEST})


def write_edit(edit: Edit, path: Path) -> None:
    """Write an edit as safetensors: `LAYER.index`, `LAYER.original`, the rest as metadata with a digest over all of it."""
    tensors = {}
    for layer, change in edit.layers.items():
        tensors[layer + _INDEX] = change.index
        tensors[layer + _ORIGINAL] = change.original
    metadata = {
        "format": _FORMAT,
        "base_model_digest": edit.base_model,
        "alpha": json.dumps(edit.alpha, sort_keys=True),
        "rule": json.dumps(edit.rule, sort_keys=True),
        "tau": json.dumps(edit.tau, sort_keys=True),
        "encoder": json.dumps({layer: change.encoder for layer, change in edit.layers.items()}, sort_keys=True),
    }
    write_state_dict(tensors, path, metadata | {_DIGEST: _content_digest(tensors, metadata)})


def read_edit(path: Path) -> Edit:
    """Read an edit file; one that lies in a store is compared with its manifest first.

    Raises:
        SpecError: the file is missing or no edit.
        ArtifactError: it is damaged, or another than its manifest promises.
    """
    if not path.is_file():
        raise SpecError(f"edit file {path} does not exist")
    check_beside_manifest(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "base_model_digest" not in metadata and metadata.get("format") != _FORMAT:
                raise SpecError(f"{path} is not an edit file, expected {EDIT_FILE} as a run makes it")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        # What safetensors and torch raise for a header that they cannot make a tensor of.
        why = one_line(str(error) or type(error).__name__, 160)
        raise SpecError(f"{path} is not an edit file, expected {EDIT_FILE} as a run makes it: {why}") from error
    try:
        return _parsed(metadata, tensors)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error


def _parsed(metadata: dict[str, str], tensors: dict[str, Tensor]) -> Edit:
    # Files of before the digest have none.
    if metadata.get(_DIGEST, digest := _content_digest(tensors, metadata)) != digest:
        raise ArtifactError("the edit is damaged: its content is not what was written; take it from its run again")
    if unknown := metadata.keys() - _KNOWN:
        raise ArtifactError(f"the edit is damaged: it says {shown(min(unknown))} of itself; take it from its run again")
    encoders = _by_name(metadata, "encoder", str)
    expected = {layer + part for layer in encoders for part in (_INDEX, _ORIGINAL)}
    if expected != tensors.keys():
        name = min(expected ^ tensors.keys())
        what = "is missing" if name in expected else "is of no layer that it names"
        raise ArtifactError(
            f"the edit is damaged: tensor {shortened(printable(name), SHOWN_LENGTH)} {what}; take it from its run again"
        )
    if metadata.get("format") != _FORMAT:
        raise ArtifactError(
            f"the edit is of format {shown(metadata.get('format'))}, expected {_FORMAT}; use the version that wrote it"
        )
    layers = {
        layer: LayerEdit(encoder, tensors[layer + _INDEX], tensors[layer + _ORIGINAL])
        for layer, encoder in encoders.items()
    }
    edit = Edit(
        metadata.get("base_model_digest", ""),
        layers,
        _by_name(metadata, "alpha", int | float),
        _by_name(metadata, "rule", str),
        _by_name(metadata, "tau", int | float),
    )
    require_sound(edit)
    return edit


def _by_name(metadata: Mapping[str, str], field: str, kind: Any) -> dict[str, Any]:
    try:
        found = parse_json(metadata[field])
    except (KeyError, ValueError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, kind) for value in found.values()):
        raise ArtifactError(f"the edit is damaged: its {field} cannot be read; take it from its run again")
    return found


def _content_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    hasher = hashlib.sha256(
        canonical_json({name: value for name, value in metadata.items() if name != _DIGEST}).encode()
    )
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        hasher.update(f"{name} {values.dtype} {list(values.shape)} ".encode())
        if values.numel():
            hasher.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()
