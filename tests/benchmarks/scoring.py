"""Scores as one matrix product, over the equations with a [out, in] tensor a pair."""

from typing import Any

import torch

from tasks.activations.statistics import channel_statistics
from tasks.scoring.saliency import STD_EPS, ChannelStats
from tasks.scoring.scorers.uwm import MeanOfRatios
from tests.benchmarks.timing import by_turns, ratio

_PAIRS, _TOKENS, _IN, _OUT = 8, 257, 4096, 1024


def scoring_speedup_over_materialised() -> dict[str, Any]:
    """One ViT-L-14 MLP output layer, 8 pairs of 257 tokens, from activations to scores."""
    weight = torch.randn(_OUT, _IN)
    safe, unsafe = (torch.randn(_PAIRS, _TOKENS, _IN) for _ in range(2))

    def score_of(inputs: torch.Tensor) -> torch.Tensor:
        norm, std = inputs.norm(dim=0), inputs.std(dim=0)
        product = norm * weight.abs()
        saliency = product.mean(dim=1, keepdim=True) * product.mean(dim=0, keepdim=True)
        return saliency / (std + STD_EPS)

    def materialised() -> torch.Tensor:
        return torch.stack([score_of(unsafe[b]) / score_of(safe[b]) for b in range(_PAIRS)]).mean(dim=0)

    def product() -> torch.Tensor:
        scorer = MeanOfRatios(weight)
        sides = [ChannelStats(*channel_statistics(inputs, None)) for inputs in (safe, unsafe)]
        scorer.add(*sides)
        return scorer.scores()

    torch.testing.assert_close(product(), materialised(), rtol=1e-4, atol=0)
    slow, fast = by_turns(materialised, product, repeats=5)
    return ratio(slow / fast, ">= 8", materialised_seconds=slow, product_seconds=fast)
