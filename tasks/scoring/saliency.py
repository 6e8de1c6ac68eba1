"""Scores as matrix products: a pair's ratio of saliencies is an outer product."""

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


class NotComparable(Exception):
    """A ratio that is NaN or infinite: `axis` is `input` or `output`, `row` and `channel` count from 0."""

    def __init__(self, axis: Literal["input", "output"], row: int, channel: int) -> None:
        super().__init__(f"{axis} channel {channel} of row {row}")
        self.axis, self.row, self.channel = axis, row, channel


class MeanOfRatios:
    """Mean over pairs of each weight's unsafe/safe saliency ratio, batch by batch.

    The mean of |W| over outputs cancels in the ratio, so a pair contributes an outer product
    and a batch one matrix product: no [pairs, out, in] tensor is made.

    Source: UWM paper, Eq. 8-10, as the authors' released code brings pairs together.
    """

    def __init__(self, weight: Tensor) -> None:
        """Score `weight` [out, in] on its device; sums are float64."""
        self._magnitude = weight.float().abs()
        self._sum = torch.zeros_like(self._magnitude, dtype=torch.float64)
        self.n_pairs = 0

    def add(self, safe: ChannelStats, unsafe: ChannelStats) -> None:
        """Add pairs; row b of each side is the same pair.

        Args:
            safe: statistics on the pairs' safe side, each [pairs, in].
            unsafe: the same pairs in the same order, unsafe side.

        Raises:
            DataError: a statistic is not [pairs, in].
            NotComparable: a ratio is NaN or infinite, as over a channel that is zero on the safe side.
        """
        width = self._magnitude.shape[1]
        _require_shape(safe, safe.norm.shape[0], width)
        _require_shape(unsafe, safe.norm.shape[0], width)
        per_output = (unsafe.norm @ self._magnitude.T) / (safe.norm @ self._magnitude.T)
        per_input = unsafe.activity() / safe.activity()
        _require_finite(per_output, "output")
        _require_finite(per_input, "input")
        self._sum += per_output.T @ per_input
        self.n_pairs += safe.norm.shape[0]

    def scores(self) -> Tensor:
        """[out, in] float32, unitless; 1.0 is equally salient for safe and unsafe."""
        if self.n_pairs == 0:
            raise DataError("no pair to score")
        return (self._sum / self.n_pairs).float()


class RatioOfMeans:
    """Ratio of the mean unsafe to the mean safe score of each weight; sides may differ in size.

    Source: UWM paper, Eq. 8-10.
    """

    def __init__(self, weight: Tensor) -> None:
        """Score `weight` [out, in] on its device; sums are float64."""
        self._magnitude = weight.float().abs()
        self._sums = {side: torch.zeros_like(self._magnitude, dtype=torch.float64) for side in ("safe", "unsafe")}
        self.n_samples = {"safe": 0, "unsafe": 0}

    def add(self, side: Literal["safe", "unsafe"], stats: ChannelStats) -> None:
        """Add samples of one side, each statistic [samples, in].

        Raises:
            DataError: a statistic is not [samples, in].
        """
        _require_shape(stats, stats.norm.shape[0], self._magnitude.shape[1])
        self._sums[side] += (stats.norm @ self._magnitude.T).T @ stats.activity()
        self.n_samples[side] += stats.norm.shape[0]

    def scores(self) -> Tensor:
        """[out, in] float32, unitless; 1.0 is equally salient for safe and unsafe.

        Raises:
            DataError: a side has no samples.
            NotComparable: a ratio is NaN or infinite.
        """
        for side, n in self.n_samples.items():
            if n == 0:
                raise DataError(f"no {side} sample to score")
        means = {side: total / self.n_samples[side] for side, total in self._sums.items()}
        ratio = (means["unsafe"] / means["safe"]).float()
        if not bool(torch.isfinite(ratio).all()):
            output, channel = (int(i) for i in (~torch.isfinite(ratio)).nonzero()[0])
            raise NotComparable("input", output, channel)
        return ratio


def _require_shape(stats: ChannelStats, rows: int, width: int) -> None:
    for name, value in (("norm", stats.norm), ("std", stats.std)):
        if tuple(value.shape) != (rows, width):
            raise DataError(f"{name} is {list(value.shape)}, expected [pairs, in] = [{rows}, {width}]")


def _require_finite(ratio: Tensor, axis: Literal["input", "output"]) -> None:
    finite = torch.isfinite(ratio)
    if not bool(finite.all()):
        row, channel = (int(i) for i in (~finite).nonzero()[0])
        raise NotComparable(axis, row, channel)
