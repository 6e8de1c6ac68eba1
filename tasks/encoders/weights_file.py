"""Reading a weights file of any of the forms that training tools save, without ever running code that it carries."""

import argparse
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from data_specs.errors import SpecError
from tasks.encoders.file_kind import Form, kind_of
from tasks.encoders.hub import said_by_library
from tasks.encoders.torchscript import read_torchscript

# What a TorchScript archive of OpenAI's carries beside its parameters.
_NOT_PARAMETERS = frozenset({"input_resolution", "context_length", "vocab_size"})
# Where training tools put the weights, and the running means of the weights, in what they save.
_WRAPPERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "model_state",
    "module",
    "net",
    "params",
    "ema",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "params_ema",
)
_NOT_WEIGHTS = re.compile(r"optim|sched|scaler|loss|hyper_param|hparam|^args$|^config$|callback|loops|rng")
_DEPTH = 3
# Modules that torch.compile, FSDP and activation checkpointing put around others, anywhere in a model.
_AROUND = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Attributes under which DistributedDataParallel, Lightning and others keep the whole model.
_OUTERMOST = ("module", "model", "net", "network", "clip", "clip_model")
_TINY_BYTES = 1 << 20


@dataclass(frozen=True)
class WeightsFile:
    """Tensors by name, and what the file says of its activation function: QuickGELU or not, None for nothing."""

    state: dict[str, Tensor]
    quick_gelu: bool | None


def read_weights(path: Path, *, rename: bool = True) -> WeightsFile:
    """Read a checkpoint, whatever its name ends with.

    Args:
        path: safetensors, what `torch.save` wrote (only tensors are unpickled), or a TorchScript archive
            (its program is not run); the state dict may lie in a wrapper such as "state_dict" or "model".
        rename: whether to remove prefixes such as `module.` and `_orig_mod.`.

    Returns:
        Tensors on the CPU, each with storage of its own, and the activation that the file speaks of.

    Raises:
        SpecError: the file is missing, damaged, something else, or would need pickled code.
    """
    if not path.is_file():
        raise SpecError(f"weights file {path} does not exist")
    try:
        kind = kind_of(path)
    except OSError as error:
        raise SpecError(f"weights file {path} cannot be read: {said_by_library(error)}") from error
    if kind.form == "pickle":
        raise SpecError(_holds_pickles(path))
    if kind.form is None:
        raise SpecError(f"weights file {path} cannot be read: it is {kind.words}")
    content, quick_gelu = _read(path, kind.form)
    state = {name: tensor.detach() for name, tensor in _find_state(content, path).items()}
    named = unwrapped_names(state, str(path)) if rename else state
    kept = {name: value for name, value in named.items() if name not in _NOT_PARAMETERS}
    _require_plain(kept, path)
    return WeightsFile(_with_own_storage(kept), quick_gelu)


def _read(path: Path, form: Form) -> tuple[Any, bool | None]:
    try:
        if form == "torchscript":
            return read_torchscript(path)
        if form == "safetensors":
            with safe_open(path, framework="pt") as file:
                said = file.metadata() or {}
            return load_file(path), _said_quick_gelu(said)
        # A namespace of a training script's options holds attributes and runs nothing.
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            # A file object, because torch takes the ending of a name for what the file is.
            with path.open("rb") as opened:
                content = torch.load(opened, map_location="cpu", weights_only=True)
        return content, _said_quick_gelu(content)
    except pickle.UnpicklingError as error:
        if form == "torchscript":
            raise SpecError(
                f"weights file {path} is a TorchScript archive that cannot be read without running it; save its"
                " state_dict as .safetensors"
            ) from error
        raise SpecError(_holds_pickles(path)) from error
    except Exception as error:  # a damaged file makes its reader raise whatever it meets
        raise SpecError(f"weights file {path} cannot be read: {_reason(error)}") from error


def _holds_pickles(path: Path) -> str:
    return (
        f"weights file {path} holds pickled objects that are not tensors and is not unpickled; save it as .safetensors"
    )


def _reason(error: Exception) -> str:
    text = said_by_library(error)
    # torch's own advice is to unpickle the file, which would run what it holds.
    return "it is damaged" if re.search("weights_only|pickle", text) else text[:160]


def _said_quick_gelu(content: Any) -> bool | None:
    """What a wrapper or a file's metadata says: a field of that name, or the training run's model name."""
    if not isinstance(content, Mapping):
        return None
    told = content.get("quick_gelu")
    if isinstance(told, bool) or told in ("true", "false"):
        return told in (True, "true")
    # open_clip's training names a run after its model; GELU it does not name, and a flag may have changed it.
    names = [content.get(key) for key in ("name", "model_name", "arch", "architecture")]
    return True if any(isinstance(name, str) and "-quickgelu" in name for name in names) else None


def _find_state(content: Any, path: Path) -> Mapping[str, Tensor]:
    found = list(_states(content, "", 0))
    if len(found) == 1:
        return found[0][1]
    if found:
        places = ", ".join(place for place, _ in found[:4])
        raise SpecError(
            f"weights file {path} holds {len(found)} state dicts ({places}); save the one you mean alone, as .safetensors"
        )
    if not isinstance(content, Mapping):
        raise SpecError(f"weights file {path} holds no state dict of tensors but {type(content).__name__}")
    keys = ", ".join(f"{str(key)[:40]!r} ({type(value).__name__})" for key, value in list(content.items())[:4])
    raise SpecError(f"weights file {path} holds no state dict of tensors; its keys are {keys or 'none'}")


def _states(content: Any, place: str, depth: int) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    if not isinstance(content, Mapping) or not content:
        return
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        yield place, content
    elif depth < _DEPTH:
        known = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        others = [key for key in content if isinstance(key, str) and not _NOT_WEIGHTS.search(key.lower())]
        for keys in (known, others):
            inside = [found for key in keys for found in _states(content[key], f"{place}.{key}".strip("."), depth + 1)]
            if inside:
                yield from inside
                return


def unwrapped_names(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The same tensors without the modules that training tools put around a model.

    Raises:
        SpecError: two tensors would have one name.
    """
    names = {name: _AROUND.sub("", name) for name in state}
    while prefix := _common_prefix(names.values()):
        names = {name: short.removeprefix(prefix) for name, short in names.items()}
    renamed = {names[name]: tensor for name, tensor in state.items()}
    if len(renamed) < len(state):
        twice = Counter(names.values()).most_common(1)[0][0]
        raise SpecError(f"weights file {source} holds {twice} twice: inside and outside of a wrapper's module")
    return renamed


def _common_prefix(names: Any) -> str:
    for prefix in _OUTERMOST:
        if names and all(name.startswith(f"{prefix}.") for name in names):
            return f"{prefix}."
    return ""


def _require_plain(state: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
            raise SpecError(
                f"weights file {path}: tensor {name} is quantised, sparse or without values; save it dense in float32"
            )
        n_bytes = tensor.numel() * tensor.element_size()
        if n_bytes > max(_TINY_BYTES, tensor.untyped_storage().nbytes()):
            raise SpecError(
                f"weights file {path}: tensor {name} claims {n_bytes} bytes and holds {tensor.untyped_storage().nbytes()}"
            )


def _with_own_storage(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # Tied tensors of a .pt file share memory, which safetensors refuses to write.
    users = Counter(value.untyped_storage().data_ptr() for value in state.values())
    return {
        name: value.clone() if users[value.untyped_storage().data_ptr()] > 1 else value for name, value in state.items()
    }
