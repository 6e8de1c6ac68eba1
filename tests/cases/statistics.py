"""Activation statistics at random, as the pipeline writes them, and the scores of the equations written out."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from data_specs.schemas import activation_stats_schema
from tasks.extraction.columns import interleave, vector_column
from tasks.extraction.table_writer import TableWriter
from tasks.scoring.saliency import ChannelStats


def random_statistics(n: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Norm and std, each [n, width] float32, all positive."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(n, width, generator=generator) * 3 + 0.05 for _ in range(2))  # type: ignore[return-value]


def stats_of(n, width, seed):
    return ChannelStats(*random_statistics(n, width, seed))


def random_weight(n_out, n_in, seed=0):
    return torch.randn(n_out, n_in, generator=torch.Generator().manual_seed(seed))


def statistics_rows(
    ids: Sequence[str], contents: Sequence[str], tags: Sequence[str | None], norm: Tensor, std: Tensor
) -> pa.RecordBatch:
    """Rows of activation statistics in the published schema."""
    columns = [
        pa.array(list(ids), pa.string()),
        pa.array(list(contents), pa.string()),
        pa.array(list(tags), pa.string()),
        pa.array([7] * len(ids), pa.int32()),
        vector_column(norm),
        vector_column(std),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=activation_stats_schema(norm.shape[1]))


def write_statistics(path: Path, batches: Iterable[pa.RecordBatch]) -> Path:
    """A Parquet file of activation statistics by the pipeline's own writer."""
    listed = list(batches)
    with TableWriter({path: listed[0].schema}) as writer:
        for batch in listed:
            writer.write({path: batch})
    return path


class Pairs:
    """Random pairs, in memory and as rows of Parquet, the two sides of a pair one after the other."""

    def __init__(self, n, width, seed, *, prefix="a", tags=None):
        self.ids = [f"{prefix}/{i:04d}" for i in range(n)]
        self.tags = tags or [None] * n
        self.safe, self.unsafe = (ChannelStats(*random_statistics(n, width, seed + side)) for side in (0, 1))

    def rows(self):
        return statistics_rows(
            [pair_id for pair_id in self.ids for _ in range(2)],
            ["safe", "unsafe"] * len(self.ids),
            [tag for tag in self.tags for _ in range(2)],
            interleave([self.safe.norm, self.unsafe.norm]),
            interleave([self.safe.std, self.unsafe.std]),
        )

    def write(self, path):
        write_statistics(path, [self.rows()])
        return self


EPS = 1e-8


def naive_score(weight, norm, std):
    """One sample's score [out, in] in float64, entry by entry (paper Eq. 8 and 9)."""
    magnitude, norm, std = weight.double().abs(), norm.double(), std.double()
    n_out, n_in = weight.shape
    score = torch.empty(n_out, n_in, dtype=torch.float64)
    for i in range(n_out):
        for j in range(n_in):
            over_inputs = sum(norm[k] * magnitude[i, k] for k in range(n_in)) / n_in
            over_outputs = sum(norm[j] * magnitude[k, j] for k in range(n_out)) / n_out
            score[i, j] = over_inputs * over_outputs / (std[j] + EPS)
    return score


def naive_scores(weight, stats):
    return torch.stack([naive_score(weight, norm, std) for norm, std in zip(stats.norm, stats.std, strict=True)])
