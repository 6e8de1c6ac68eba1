"""Where the tensors of a safetensors file lie in it, so that one can be read, compared or written without the others."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from data_specs.errors import SpecError
from data_specs.json_text import shallow_json
from data_specs.wording import first_line, shown
from tasks.encoders.file_kind import kind_of
from tasks.encoders.hub import said_by_library

_CHUNK_BYTES = 1 << 22
_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file: its bytes are those from `begin` to before `end`, row by row."""

    file: Path
    name: str
    kind: str  # as safetensors calls it, such as F16
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def dtype(self) -> torch.dtype | None:
        """Its type; None where it is no plain float, as in a quantised checkpoint."""
        return _FLOATS.get(self.kind)

    def read(self) -> Tensor:
        """Its values, in memory of their own.

        Raises:
            SpecError: it is of no type of float.
        """
        if self.dtype is None:
            raise SpecError(f"{self.file}: tensor {self.name} is {self.kind}; give the checkpoint in float16 or wider")
        with self.file.open("rb") as file:
            file.seek(self.begin)
            content = bytearray(file.read(self.end - self.begin))
        if not content:
            return torch.empty(self.shape, dtype=self.dtype)
        return torch.frombuffer(content, dtype=self.dtype).reshape(self.shape)

    def sha256(self, path: Path | None = None) -> str:
        """The digest of its bytes, as they are in its file, or at the same place of another."""
        hasher = hashlib.sha256()
        with (path or self.file).open("rb") as file:
            for chunk in _chunks(file, self.begin, self.end):
                hasher.update(chunk)
        return hasher.hexdigest()


def stored_tensors(path: Path, setting: str) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by name; none of them is read.

    Args:
        path: the file.
        setting: that names it; for errors.

    Raises:
        SpecError: it is missing, cut, damaged, or of another kind.
    """
    try:
        kind = kind_of(path)
        if kind.form != "safetensors":
            raise SpecError(f"{setting}: {path} is {kind.words}, expected a safetensors file")
        # Not by safetensors' own reader: that maps the whole file, for which a machine may have too little memory.
        with path.open("rb") as file:
            n_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(shallow_json(file.read(n_bytes)))
        header.pop("__metadata__", None)
        found = {name: _stored(path, name, told, 8 + n_bytes) for name, told in header.items()}
        _require_whole(found, 8 + n_bytes, path.stat().st_size)
    except OSError as error:
        raise SpecError(f"{setting}: {path} cannot be read: {said_by_library(error)}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SpecError(f"{setting}: {path} is damaged: {_reason(error)}; copy or download it again") from error
    return found


def _stored(path: Path, name: str, told: dict[str, Any], start: int) -> StoredTensor:
    begin, end = (int(offset) for offset in told["data_offsets"])
    tensor = StoredTensor(path, name, str(told["dtype"]), tuple(map(int, told["shape"])), start + begin, start + end)
    if min(tensor.shape, default=0) < 0 or not 0 <= begin <= end:
        raise ValueError(f"tensor {shown(name)} lies at {begin} to {end}")
    if tensor.dtype is not None and tensor.dtype.itemsize * prod(tensor.shape) != end - begin:
        raise ValueError(f"tensor {shown(name)} of {tensor.kind} {list(tensor.shape)} has {end - begin} bytes")
    return tensor


def _require_whole(found: Mapping[str, StoredTensor], start: int, size: int) -> None:
    for tensor in sorted(found.values(), key=lambda item: (item.begin, item.end)):
        if tensor.begin != start:
            raise ValueError(f"tensor {shown(tensor.name)} begins at byte {tensor.begin}, expected {start}")
        start = tensor.end
    if start != size:
        raise ValueError(f"it has {size} bytes, its header speaks of {start}")


def _reason(error: Exception) -> str:
    return first_line(error) if type(error) is ValueError else "its header cannot be read"


def _chunks(file: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    file.seek(begin)
    while begin < end and (chunk := file.read(min(_CHUNK_BYTES, end - begin))):
        begin += len(chunk)
        yield chunk
