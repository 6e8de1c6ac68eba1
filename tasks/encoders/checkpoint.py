"""Reading and writing state dicts, and digests that say which model one is."""

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from data_specs.families import encoder_of
from data_specs.run_config import Encoder
from tasks.encoders.weights_file import read_weights
from tasks.lineage.digest import digest_of

SAFETENSORS = ".safetensors"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, without a training tool's wrapper and prefixes.

    Raises:
        SpecError: the file is missing, damaged, no state dict, or would need pickled code.
    """
    return read_weights(path).state


def write_state_dict(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors; the same tensors and metadata give the same bytes."""
    # safetensors makes a file that its owner alone may read; this one is as open as any that a program writes here.
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())},
        path,
        metadata=dict(metadata or {}) or None,
    )
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
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
