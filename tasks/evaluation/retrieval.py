"""Recall by counting better candidates block by block; no n x n matrix, no sort."""

from collections.abc import Sequence

import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.metrics import RECALL_AT, recall_name
from tasks.evaluation.pairs import EmbeddedPairs

_BLOCK_ELEMENTS = 1 << 22


def target_ranks(queries: Tensor, candidates: Tensor) -> Tensor:
    """How many candidates come before each query's own, in a stable sort by falling similarity.

    Args:
        queries: [n, embedding] of unit norm.
        candidates: [m, embedding] of unit norm, m >= n; candidate i is the right answer of query i.

    Returns:
        [n] int64, 0 where the right answer is first. Among equal similarities the candidate at
        the earlier position comes first, so a constant encoder is right only by chance.

    Raises:
        DataError: shapes do not fit, or an embedding is NaN or infinite.
    """
    n, m = len(queries), len(candidates)
    if queries.shape[1] != candidates.shape[1] or m < n:
        raise DataError(f"queries {list(queries.shape)} and candidates {list(candidates.shape)} do not fit")
    # A NaN candidate would compare as worse than every other, silently.
    if not bool(torch.isfinite(queries).all() and torch.isfinite(candidates).all()):
        raise DataError("an embedding is NaN or infinite; its similarities cannot be ranked")
    rows = max(1, _BLOCK_ELEMENTS // m)
    ranks = torch.empty(n, dtype=torch.int64)
    for start in range(0, n, rows):
        block = queries[start : start + rows] @ candidates.T
        targets = torch.arange(start, start + len(block), device=block.device)
        own = block.gather(1, targets[:, None])
        better = torch.count_nonzero(block > own, dim=1)
        not_worse = torch.count_nonzero(block >= own, dim=1)
        for row in (not_worse - better > 1).nonzero().flatten().tolist():
            before = int(targets[row])
            better[row] += torch.count_nonzero(block[row, :before] == own[row])
        ranks[start : start + len(block)] = better.cpu()
    return ranks


def recalls(ranks: Tensor, ks: Sequence[int] = RECALL_AT) -> list[float]:
    """R@k in percent for each k: the share of ranks below k."""
    return [100 * int((ranks < k).sum()) / len(ranks) for k in ks]


def retrieval_metrics(pairs: EmbeddedPairs, device: torch.device) -> dict[str, float]:
    """Every recall of an evaluation.

    Source: UWM paper, retrieval among safe and among all candidates; the right answer is always safe.

    Args:
        pairs: unit-norm embeddings.
        device: where similarities are computed.

    Returns:
        Metrics by name in percent.
    """
    texts = {"s": pairs.text_safe.to(device), "u": pairs.text_unsafe.to(device)}
    images = {"s": pairs.vision_safe.to(device), "u": pairs.vision_unsafe.to(device)}
    ranks = {
        "Ts-Vs": target_ranks(texts["s"], images["s"]),
        "Vs-Ts": target_ranks(images["s"], texts["s"]),
        "Tu-Vus": target_ranks(texts["u"], torch.cat([images["s"], images["u"]])),
        "Vu-Tus": target_ranks(images["u"], torch.cat([texts["s"], texts["u"]])),
    }
    return {
        recall_name(name, k): recall
        for name, found in ranks.items()
        for k, recall in zip(RECALL_AT, recalls(found), strict=True)
    }
