"""|gradient| summed over batches, and what the unfinished batch has gathered so far."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

_SUM, _PART = "sum/", "part/"


class GradientSums:
    """Scores in the making: a batch's gradient is the sum of its pieces; the absolute value is taken of whole batches."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Sum for `weights` [out, in] by layer, float32 on their device."""
        self._sums = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
        self._part = {name: torch.zeros_like(total) for name, total in self._sums.items()}

    def add(self, gradients: Mapping[str, Tensor]) -> None:
        """Add a piece of the current batch, [out, in] by layer."""
        for name, gradient in gradients.items():
            self._part[name] += gradient

    def close_batch(self) -> None:
        """Take the current batch's gradient as whole and begin another."""
        for name, part in self._part.items():
            self._sums[name] += part.abs()
            part.zero_()

    def scores(self) -> dict[str, Tensor]:
        """[out, in] float32 by layer, over all batches that were closed."""
        return self._sums

    def save(self, path: Path) -> None:
        """Write everything that a later process needs to go on."""
        state = {_SUM + name: total for name, total in self._sums.items()}
        state |= {_PART + name: part for name, part in self._part.items()}
        save_file({name: tensor.cpu().contiguous() for name, tensor in state.items()}, path)

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        state = load_file(path)
        for name in self._sums:
            self._sums[name].copy_(state[_SUM + name])
            self._part[name].copy_(state[_PART + name])

    def clear(self) -> None:
        """Begin from nothing."""
        for tensor in (*self._sums.values(), *self._part.values()):
            tensor.zero_()
