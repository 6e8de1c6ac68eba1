"""The three kinds of scorers, by what they read: activation statistics, gradients, or the weights alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from data_specs.run_config import Content, EncoderConfig
from tasks.scoring.saliency import ChannelStats
from tasks.scoring.total import Sums


@runtime_checkable
class PairScores(Protocol):
    """Scores that compare the two members of each pair; filled batch by batch."""

    sums: Sums

    @property
    def n_pairs(self) -> int:
        """How many pairs were added."""

    def add(self, safe: ChannelStats, unsafe: ChannelStats) -> None:
        """Add pairs, statistics [pairs, in]; row b of each side is the same pair."""

    def scores(self) -> Tensor:
        """[out, in] float32."""


@runtime_checkable
class SideScores(Protocol):
    """Scores that take each side as a whole, whatever its size; filled batch by batch."""

    sums: Sums

    @property
    def n_samples(self) -> dict[Content, int]:
        """How many samples of each side that counts were added."""

    def add(self, side: Content, stats: ChannelStats) -> None:
        """Add samples of one side, statistics [samples, in]."""

    def scores(self) -> Tensor:
        """[out, in] float32."""


@dataclass(frozen=True)
class ActivationScorer:
    """Scores of one layer from the statistics of its input; `settings` names the fields that change them."""

    start: Callable[[Tensor, EncoderConfig], PairScores | SideScores]
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchMembers:
    """Unit-norm embeddings of a batch of pairs, each [pairs, embedding]; `own` is the scored encoder's."""

    own_safe: Tensor
    own_unsafe: Tensor
    other_safe: Tensor
    other_unsafe: Tensor


@dataclass(frozen=True)
class GradientScorer:
    """Scores from |dloss / dW|; of the batch, only `own_safe` carries gradient. The loss is a mean over pairs."""

    loss: Callable[[BatchMembers], Tensor]


@dataclass(frozen=True)
class WeightScorer:
    """Scores [out, in] float32 of a layer from its weight, its name and a seed."""

    scores: Callable[[Tensor, str, int], Tensor]
    seeded: bool = False


Scorer = ActivationScorer | GradientScorer | WeightScorer
