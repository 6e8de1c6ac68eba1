"""How many inputs go through a model at once where the settings leave it open."""

import torch

_ON_CPU = 32
_SMALLEST, _LARGEST = 32, 512
_PER_GIB = 4


def usual_batch_size(device: str) -> int:
    """Inputs in one forward pass for `batch_size: auto`: 32 on the CPU, by its memory on a GPU."""
    if torch.device(device).type != "cuda":
        return _ON_CPU
    return batch_size_for_memory(torch.cuda.get_device_properties(device).total_memory)


def batch_size_for_memory(n_bytes: int) -> int:
    """The largest power of two that is at most 4 for each GiB of a device, but 32 to 512.

    Of all its memory and not of what is free now, so that a machine gives the same number each time, and finds what it
    made. The widest activations, [inputs, tokens, 4 width] in float32, then take 0.5 GiB for a ViT-bigG/14 on 24 GiB, and
    1 GiB for a ViT-L/14 on 80 GiB.
    """
    wanted = max(1, _PER_GIB * n_bytes >> 30)
    return min(_LARGEST, max(_SMALLEST, 1 << (wanted.bit_length() - 1)))
