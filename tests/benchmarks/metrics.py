"""SafeGround and recalls by counting, over full similarity matrices and argsort."""

from typing import Any

import torch
from torch import Tensor, nn

from data_specs.metrics import RECALL_AT, recall_name
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.evaluation.retrieval import retrieval_ranks
from tasks.evaluation.similarities import similarities
from tests.benchmarks.timing import by_turns, ratio
from tests.cases.evaluations import pair_figures

_PAIRS, _WIDTH = 5_000, 768


def metrics_speedup_over_matrices() -> dict[str, Any]:
    """5,000 pairs of width 768: similarities, all preferences and groups, all recalls."""
    shared = torch.randn(_PAIRS, _WIDTH)
    sides = [nn.functional.normalize(shared + 3 * torch.randn(_PAIRS, _WIDTH), dim=1) for _ in range(4)]
    ids = [f"digest/{i}" for i in range(_PAIRS)]
    pairs = EmbeddedPairs(ids, [None] * _PAIRS, *sides)

    def counted() -> dict[str, float]:
        found: dict[str, float] = pair_figures(similarities(pairs), retrieval_ranks(pairs, torch.device("cpu")))
        return found

    found, expected = counted(), _by_matrices(*sides)
    for name, value in expected.items():
        if abs(found[name] - value) > 100 / _PAIRS:
            raise ValueError(f"{name}: counted {found[name]}, by matrices {value}")
    slow, fast = by_turns(lambda: _by_matrices(*sides), counted, repeats=3)
    return ratio(slow / fast, ">= 6", matrices_seconds=slow, counted_seconds=fast)


def _by_matrices(ts: Tensor, tu: Tensor, vs: Tensor, vu: Tensor) -> dict[str, float]:
    n = len(ts)
    t_s, t_u = ts @ vs.T, tu @ vu.T
    su, us = ts @ vu.T, tu @ vs.T
    prefers = {
        "P_t_s": t_s.diag() > su.diag(),
        "P_t_u": us.diag() > t_u.diag(),
        "P_v_s": t_s.diag() > us.diag(),
        "P_v_u": su.diag() > t_u.diag(),
    }
    metrics = {name: 100 * hit.double().mean().item() for name, hit in prefers.items()}
    every = torch.stack(list(prefers.values())).all(dim=0)
    metrics["GS"] = 100 * every.double().mean().item()
    targets = torch.arange(n)[:, None]
    matrices = {
        "Ts-Vs": ts @ vs.T,
        "Vs-Ts": vs @ ts.T,
        "Tu-Vus": tu @ torch.cat([vs, vu]).T,
        "Vu-Tus": vu @ torch.cat([ts, tu]).T,
    }
    for name, matrix in matrices.items():
        order = torch.argsort(matrix, dim=1, descending=True)
        for k in RECALL_AT:
            hits = (order[:, :k] == targets).any(dim=1)
            metrics[recall_name(name, k)] = 100 * hits.double().mean().item()
    return metrics
