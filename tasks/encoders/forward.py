"""One forward pass of one encoder, on a device and in a precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from data_specs.errors import MachineError, SpecError
from data_specs.run_config import Encoder, Precision

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        SpecError: the name is none of these, or no such device is here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SpecError(f"--device {name!r} is no device; use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise SpecError(f"--device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        n = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise SpecError(f"--device {name!r} is not here; this machine has {n} CUDA devices")
    return device


@contextmanager
def forward_precision(precision: Precision, device: torch.device, *, gradients: bool = False) -> Iterator[None]:
    """Run what is inside in the asked precision, without gradients unless asked, then restore torch's settings."""
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" and device.type == "cuda" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    dtype = _AUTOCAST.get(precision)
    try:
        tracking = torch.enable_grad() if gradients else torch.inference_mode()
        with tracking, torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution


@contextmanager
def memory_of(device: torch.device, advice: str) -> Iterator[None]:
    """Tell in one sentence that a device has too little memory for what is inside, and what helps.

    Raises:
        MachineError: it has.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MachineError(f"the memory of {device} ran out; {advice}, or free some of it, and start again") from error


def encode(model: nn.Module, encoder: Encoder, inputs: Tensor) -> Tensor:
    """Unit-norm float32 embeddings of one batch.

    Args:
        model: an open_clip model.
        encoder: which tower.
        inputs: [n, 3, height, width] images or [n, context] token ids, on the model's device.

    Returns:
        [n, embedding] float32 of unit norm.
    """
    features = model.encode_image(inputs) if encoder == "vision" else model.encode_text(inputs)  # type: ignore[operator]
    return nn.functional.normalize(features.float(), dim=-1)
