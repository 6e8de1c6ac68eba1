"""Magnitude: the size of a weight, without any data."""

from torch import Tensor

from tasks.scoring.scorer import WeightScorer


def magnitude(weight: Tensor, _layer: str, _seed: int) -> Tensor:
    """|W|, [out, in] float32."""
    return weight.float().abs()


MAGNITUDE = WeightScorer(magnitude)
