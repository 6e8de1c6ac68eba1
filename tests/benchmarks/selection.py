"""Selection by sorted float32 values, over a sort of float64 scores with their indices in torch."""

from typing import Any

import numpy as np
import torch

from tasks.selection.rules import select
from tests.benchmarks.timing import by_turns, ratio

_SHAPE = (1024, 4096)
_TAU = 0.98


def selection_speedup_over_sort() -> dict[str, Any]:
    """4.2 million scores, score_mass at tau 0.98."""
    scores = np.random.default_rng(0).lognormal(size=_SHAPE).astype(np.float32)
    wide = torch.from_numpy(scores).double().view(-1)

    def by_sort() -> torch.Tensor:
        values, index = torch.sort(wide)
        return index[torch.cumsum(values / values.sum(), dim=0) > _TAU].sort().values

    np.testing.assert_array_equal(select(scores, "score_mass", _TAU).index, by_sort().numpy())
    slow, fast = by_turns(by_sort, lambda: select(scores, "score_mass", _TAU), repeats=7)
    return ratio(slow / fast, ">= 4", sort_seconds=slow, select_seconds=fast)
