"""What a score is made of: the size of a layer's input per channel, and how it varies over tokens."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from data_specs.errors import DataError

STD_EPS = 1e-8


@dataclass(frozen=True)
class ChannelStats:
    """Norm and std of a layer's input over tokens, each [samples, in], activation units."""

    norm: Tensor
    std: Tensor

    def activity(self, std_eps: float = STD_EPS) -> Tensor:
        """norm / (std + eps), [samples, in]."""
        return self.norm / (self.std + std_eps)

    def to(self, device: torch.device) -> "ChannelStats":
        """The same statistics on a device."""
        return ChannelStats(self.norm.to(device), self.std.to(device))


class NotComparable(Exception):
    """A ratio that is NaN or infinite: `axis` is `input` or `output`, `row` and `channel` count from 0."""

    def __init__(self, axis: Literal["input", "output"], row: int, channel: int) -> None:
        super().__init__(f"{axis} channel {channel} of row {row}")
        self.axis, self.row, self.channel = axis, row, channel


def require_shape(stats: ChannelStats, rows: int, width: int) -> None:
    """Refuse statistics that are not [rows, width].

    Raises:
        DataError: names the shapes.
    """
    for name, value in (("norm", stats.norm), ("std", stats.std)):
        if tuple(value.shape) != (rows, width):
            raise DataError(f"{name} is {list(value.shape)}, expected [pairs, in] = [{rows}, {width}]")


def require_comparable(ratio: Tensor, axis: Literal["input", "output"]) -> None:
    """Refuse ratios [rows, channels] that are NaN or infinite.

    Raises:
        NotComparable: names the first such row and channel.
    """
    finite = torch.isfinite(ratio)
    if not bool(finite.all()):
        row, channel = (int(i) for i in (~finite).nonzero()[0])
        raise NotComparable(axis, row, channel)
