"""Random: the control that every scorer must beat."""

import numpy as np
import torch
from torch import Tensor

from tasks.lineage.digest import text_sha256
from tasks.scoring.scorer import WeightScorer


def uniform(weight: Tensor, layer: str, seed: int) -> Tensor:
    """Uniform in 0 to 1, [out, in] float32; the draw depends on the seed and on the layer's name alone."""
    generator = np.random.default_rng(int(text_sha256(f"random scores {seed} {layer}")[:16], 16))
    return torch.from_numpy(generator.random(tuple(weight.shape), dtype=np.float32)).to(weight.device)


RANDOM = WeightScorer(uniform, seeded=True)
