"""What was computed on a device, brought to the host in one copy."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor


class HostCopy:
    """Tensors on their way to the host, while their device goes on computing.

    From a GPU they come packed into one, by a stream of their own: each copy of its own, or in the order of what is
    computed, makes host and GPU wait for each other.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        """Begin the copy.

        Args:
            tensors: of one device, each of any shape and of type float32, int32, int64 or bool.
        """
        self._tensors = list(tensors)
        self._packed: _PackedCopy | None = None
        if tensors and tensors[0].device.type != "cpu":
            # Of what is on the device, only shapes and types are still needed.
            self._tensors = [torch.empty_like(tensor, device="meta") for tensor in tensors]
            self._packed = _PackedCopy(pack(tensors))

    def arrived(self) -> list[Tensor]:
        """The tensors on the CPU, of the same shapes, types and values; waits for them. Those of the CPU as they are."""
        return self._tensors if self._packed is None else unpack(self._packed.arrived(), self._tensors)


class _PackedCopy:
    """One tensor on its way to page-locked memory."""

    def __init__(self, packed: Tensor) -> None:
        self._landed = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=packed.is_cuda)
        self._event: torch.cuda.Event | None = None
        if not packed.is_cuda:
            self._landed.copy_(packed)
            return
        stream = _copies(packed.device)
        stream.wait_stream(torch.cuda.current_stream(packed.device))
        with torch.cuda.stream(stream):
            self._landed.copy_(packed, non_blocking=True)
        # Its memory is not given to others before the copy has left it.
        packed.record_stream(stream)
        self._event = stream.record_event()

    def arrived(self) -> Tensor:
        if self._event is not None:
            self._event.synchronize()
        return self._landed


@cache
def _copies(device: torch.device) -> "torch.cuda.Stream":
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def on_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors on the CPU; waits for them."""
    return HostCopy(tensors).arrived()


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
