"""What was computed on a device, brought to the host in one copy."""

from collections.abc import Sequence

import torch
from torch import Tensor


def on_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors on the CPU.

    From a GPU they come packed into one: each copy of its own makes host and GPU wait for each other.

    Args:
        tensors: of one device, each of any shape and of type float32, int32, int64 or bool.

    Returns:
        Tensors of the same shapes, types and values; those of the CPU as they are.
    """
    if not tensors or tensors[0].device.type == "cpu":
        return list(tensors)
    packed = pack(tensors)
    landed = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=packed.is_cuda)
    landed.copy_(packed, non_blocking=True)
    if packed.is_cuda:
        torch.cuda.current_stream(packed.device).synchronize()
    return unpack(landed, tensors)


def pack(tensors: Sequence[Tensor]) -> Tensor:
    """The bytes of tensors one after the other, [bytes] uint8, those of wider types first, so that each is aligned."""
    return torch.cat([_flat_bytes(tensors[index]) for index in _widest_first(tensors)])


def unpack(packed: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors of which `pack` made one, as views of it."""
    found: dict[int, Tensor] = {}
    start = 0
    for index in _widest_first(like):
        one = like[index]
        stop = start + one.numel() * one.element_size()
        found[index] = packed[start:stop].view(one.dtype).view(one.shape)
        start = stop
    return [found[index] for index in range(len(like))]


def _widest_first(tensors: Sequence[Tensor]) -> list[int]:
    return sorted(range(len(tensors)), key=lambda index: -tensors[index].element_size())


def _flat_bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)
