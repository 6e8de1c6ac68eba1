"""Reading and writing state dicts, and digests that say which model one is."""

import hashlib
import json
import pickle
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_specs.errors import SpecError
from data_specs.families import encoder_of
from data_specs.run_config import Encoder
from tasks.lineage.digest import digest_of

SAFETENSORS = ".safetensors"
# What a TorchScript archive carries beside its parameters.
_NOT_PARAMETERS = frozenset({"input_resolution", "context_length", "vocab_size"})


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint without ever running code that it carries.

    Args:
        path: `.safetensors`, or anything that `torch.load(weights_only=True)` reads; a `state_dict`
            wrapper and `module.` prefixes are removed.

    Returns:
        Tensors on the CPU, by name, each with storage of its own.

    Raises:
        SpecError: the file is missing, damaged, no state dict, or would need pickled code.
    """
    if not path.is_file():
        raise SpecError(f"weights file {path} does not exist")
    try:
        content: Any = (
            load_file(path) if path.suffix == SAFETENSORS else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as error:
        raise SpecError(
            f"weights file {path} holds pickled objects that are not tensors and is not unpickled; save it as .safetensors"
        ) from error
    except Exception as error:  # a damaged file makes torch's unpickler raise whatever it meets
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise SpecError(f"weights file {path} cannot be read: {reason}") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(map(_is_named_tensor, state.items())):
        raise SpecError(f"weights file {path} holds no state dict of tensors")
    prefix = "module."
    strip = all(name.startswith(prefix) for name in state)
    named = {name.removeprefix(prefix) if strip else name: value for name, value in state.items()}
    return _with_own_storage({name: value for name, value in named.items() if name not in _NOT_PARAMETERS})


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _with_own_storage(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # Tied tensors of a .pt file share memory, which safetensors refuses to write.
    users = Counter(value.untyped_storage().data_ptr() for value in state.values())
    return {
        name: value.clone() if users[value.untyped_storage().data_ptr()] > 1 else value for name, value in state.items()
    }


def write_state_dict(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors; the same tensors and metadata give the same bytes."""
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())},
        path,
        metadata=dict(metadata or {}) or None,
    )
    if len(metadata or {}) > 1:
        _sort_metadata(path)


def _sort_metadata(path: Path) -> None:
    # safetensors writes metadata in the order of a hash map that every process seeds anew.
    with path.open("r+b") as file:
        n_bytes = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(n_bytes))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        file.seek(8)
        file.write(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(n_bytes))


def tensor_digests(state: Mapping[str, Tensor]) -> dict[str, str]:
    """SHA-256 of each tensor's shape and values; half precision counts as the float32 of equal value."""
    digests = {}
    for name, tensor in state.items():
        values = tensor.detach().cpu().contiguous()
        if values.is_floating_point() and values.dtype != torch.float64:
            values = values.float()
        hasher = hashlib.sha256(f"{values.dtype} {tuple(values.shape)} ".encode())
        if values.numel():
            hasher.update(values.reshape(-1).view(torch.uint8).numpy().data)
        digests[name] = hasher.hexdigest()
    return digests


def model_digest(digests: Mapping[str, str]) -> str:
    """The digest of a whole model."""
    return digest_of(digests)


def encoder_digest(digests: Mapping[str, str], encoder: Encoder) -> str:
    """The digest of the tensors of one encoder; an edit of the other leaves it as it is."""
    return digest_of({name: digest for name, digest in digests.items() if encoder_of(name) == encoder})
