"""The tensors of a TorchScript archive, without running any of the program that it carries."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_STORAGES: dict[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# A buffer that every CLIP makes anew, and that a state dict does not have.
_MADE_ANEW = "attn_mask"
# More than any model has: an archive may hold a module that holds itself.
_MOST_PARTS = 100_000


class _Part:
    """Stands for an object of any class that the archive defines; holds its attributes and does nothing."""

    def __init__(self, *_arguments: Any) -> None:
        self.attributes: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state


# The interpreter in Python: the one in C sets aside memory for any number that the file names.
_PythonUnpickler: Any = pickle._Unpickler


class _Reader(_PythonUnpickler):  # type: ignore[misc]
    """Unpickles to tensors and `_Part`s; every other name that a file may give is refused."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(BytesIO(archive.read(f"{folder}/data.pkl")))
        self.class_names: set[str] = set()
        self._archive, self._folder = archive, folder
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            self.class_names.add(name)
            # A class of its own for each, so that a file cannot change one that others use.
            return type("_Part", (_Part,), {"__setstate__": _Part.__setstate__})
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_rest: torch.as_strided(storage, size, stride, offset)
        if (module, name) == ("collections", "OrderedDict"):
            return lambda *_arguments: OrderedDict()
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle":
            return lambda data, *_rest: data
        raise pickle.UnpicklingError(f"{module}.{name} is not read")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, n_values = pid
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._folder}/data/{int(key)}"))
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        if len(self._storages[key]) < n_values:
            raise pickle.UnpicklingError(f"record {int(key)} is too short")
        return self._storages[key]


def read_torchscript(path: Path) -> tuple[dict[str, Tensor], bool | None]:
    """Read parameters and buffers of an archive that `torch.jit.save` wrote.

    Args:
        path: of the archive, whose records are not compressed.

    Returns:
        Tensors by their dotted name, and whether its activation function is QuickGELU; None where
        neither that nor GELU is part of it.

    Raises:
        Exception: whatever a damaged archive leads to.
    """
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        folder = min(pickles, key=len).removesuffix("/data.pkl")
        if f"{folder}/byteorder" in archive.namelist() and archive.read(f"{folder}/byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")
        reader = _Reader(archive, folder)
        root = reader.load()
        state = {name: tensor for name, tensor in _tensors(root) if name.rpartition(".")[2] != _MADE_ANEW}
    known = {"QuickGELU", "GELU"} & reader.class_names
    return state, "QuickGELU" in known if known else None


def _tensors(root: Any) -> Iterator[tuple[str, Tensor]]:
    left = [("", root)]
    for _ in range(_MOST_PARTS):
        if not left:
            return
        prefix, part = left.pop()
        for name, value in part.attributes.items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
            elif isinstance(value, _Part) and isinstance(value.attributes, dict):
                left.append((f"{prefix}{name}.", value))
    raise ValueError(f"it has more than {_MOST_PARTS} modules")
