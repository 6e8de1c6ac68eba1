"""Two numbers a channel and sample: the size of a layer's input, and how it varies over tokens."""

import torch
from torch import Tensor

from data_specs.errors import DataError

# Larger temporaries fall out of the processor's caches, which costs ten times the arithmetic.
_CPU_CHUNK_ELEMENTS = 1 << 20


def channel_statistics(inputs: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """L2 norm and standard deviation of each channel over a sample's valid tokens.

    The squared norm is the centred sum of squares plus n mean^2: two terms of one sign, so no
    digits cancel even where a channel hardly varies.

    Source: UWM paper, Eq. 8 and 9.

    Args:
        inputs: a linear layer's input z, [samples, tokens, in], any float dtype.
        valid: [samples, tokens] bool; None where every token counts.

    Returns:
        norm and std (ddof = 1), each [samples, in] float32 in activation units; std is NaN where
        fewer than two tokens are valid.

    Raises:
        DataError: shapes do not fit.
    """
    if inputs.dim() != 3 or (valid is not None and valid.shape != inputs.shape[:2]):
        mask = None if valid is None else list(valid.shape)
        raise DataError(f"activations are {list(inputs.shape)} with mask {mask}, expected [samples, tokens, in]")
    rows = inputs.shape[0]
    if inputs.device.type == "cpu":
        rows = max(1, _CPU_CHUNK_ELEMENTS // (inputs.shape[1] * inputs.shape[2]))
    n = inputs.shape[1] if valid is None else valid.sum(dim=1, keepdim=True)
    mean = torch.empty(inputs.shape[0], inputs.shape[2], device=inputs.device)
    squares = torch.empty_like(mean)
    # Asked of the system once: its pages would cost as much as the arithmetic.
    scratch = torch.empty(min(rows, inputs.shape[0]), *inputs.shape[1:], device=inputs.device)
    for start in range(0, inputs.shape[0], rows):
        chunk = slice(start, start + rows)
        taken = inputs[chunk]
        _moments(taken, None if valid is None else valid[chunk], scratch[: len(taken)], mean[chunk], squares[chunk])
    return (squares + n * mean.square()).sqrt_(), (squares / (n - 1)).sqrt_()


def _moments(inputs: Tensor, valid: Tensor | None, scratch: Tensor, mean: Tensor, squares: Tensor) -> None:
    with torch.autocast(inputs.device.type, enabled=False):
        values = inputs.float()
        if valid is None:
            torch.mean(values, dim=1, out=mean)
            torch.sub(values, mean[:, None], out=scratch)
        else:
            kept, zero = valid[:, :, None], values.new_zeros(())
            torch.where(kept, values, zero, out=scratch)
            torch.div(scratch.sum(dim=1), kept.sum(dim=1), out=mean)
            torch.sub(values, mean[:, None], out=scratch)
            torch.where(kept, scratch, zero, out=scratch)
        torch.sum(scratch.square_(), dim=1, out=squares)
