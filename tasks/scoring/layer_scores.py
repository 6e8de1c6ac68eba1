"""Scores of every target layer of one encoder, from statistics on disk to Parquet."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.run_config import Encoder
from data_specs.schemas import layer_folder, scores_schema
from tasks.extraction.columns import vector_column
from tasks.extraction.table_writer import open_parquet, row_group_rows
from tasks.lineage.progress import advance
from tasks.lineage.store import Build
from tasks.scoring.aggregate import LayerStatistics
from tasks.scoring.saliency import NotComparable
from tasks.scoring.scorer import PairScores, SideScores
from tasks.selection.scores_table import SCORES_FILE

LayerScorer = Callable[[str, Tensor], tuple[Tensor, dict[str, Any]]]


def progress_stage(encoder: Encoder) -> str:
    """Under which progress of an encoder's scores is reported, by layers."""
    return f"scores.{encoder}"


def write_layer_scores(
    build: Build,
    weights: Mapping[str, Tensor],
    score: LayerScorer,
    *,
    encoder: Encoder,
    weight_by_magnitude: bool,
    device: torch.device,
) -> None:
    """Score layer by layer; a layer is a part of the build, so a killed run keeps the finished ones.

    Args:
        build: takes `encoder=.../layer=.../scores.parquet`.
        weights: [out, in] by layer name.
        score: from a layer's name and its weight on `device` to scores [out, in] float32, and what to record.
        encoder: whose layers these are.
        weight_by_magnitude: multiply scores by |W|.
        device: where scores are computed.

    Raises:
        DataError: no pair is left, or a score is NaN or infinite; the layer and pair are named.
    """
    counts: dict[str, Any] = {}
    for index, (layer, weight) in enumerate(weights.items()):
        part = f"layer-{index:06d}"
        record = build.parts.record(part)
        if record is None:
            try:
                scores, record = score(layer, weight.to(device))
                if weight_by_magnitude:
                    scores = scores * weight.to(device).float().abs()
                _require_finite(scores)
            except DataError as error:
                raise DataError(f"layer {layer}: {error}") from error
            path = build.folder / layer_folder(encoder, layer) / SCORES_FILE
            write_scores(scores, path)
            build.parts.finish(part, [path], record)
        counts[layer] = record
        advance(progress_stage(encoder))
    build.counts["layers"] = counts


def _require_finite(scores: Tensor) -> None:
    finite = torch.isfinite(scores)
    if not bool(finite.all()):
        output, channel = (int(i) for i in (~finite).nonzero()[0])
        raise DataError(
            f"the score of the weight at output {output}, input {channel} is NaN or infinite; look at the precision"
        )


def aggregate_layer(rows: LayerStatistics, scores: PairScores | SideScores) -> tuple[Tensor, dict[str, int]]:
    """Scores [out, in] float32 of one layer and what they were taken over.

    Raises:
        DataError: no pair is left, widths do not fit, or a ratio is NaN or infinite.
    """
    if isinstance(scores, PairScores):
        return _over_pairs(rows, scores)
    for side in rows.sides(tuple(scores.n_samples)):
        scores.add(side.content, side.stats)
    try:
        found = scores.scores()
    except NotComparable as error:
        raise DataError(
            f"the unsafe/safe ratio of the weight at output {error.row}, input {error.channel} is NaN or infinite, as over"
            " a channel without activity in all safe samples; use fewer layers"
        ) from error
    n_samples = scores.n_samples
    return found, {"n_pairs": min(n_samples.values()), **{f"n_{side}": n for side, n in n_samples.items()}}


def _over_pairs(rows: LayerStatistics, scores: PairScores) -> tuple[Tensor, dict[str, int]]:
    for pairs in rows.pairs():
        try:
            scores.add(pairs.safe, pairs.unsafe)
        except NotComparable as error:
            raise DataError(
                f"pair {pairs.pair_ids[error.row]}: the unsafe/safe ratio of {error.axis} channel {error.channel} is NaN"
                " or infinite, as over a channel without activity; use aggregation ratio_of_means or fewer layers"
            ) from error
    return scores.scores(), {"n_pairs": scores.n_pairs, "n_unmatched_rows": rows.n_unmatched}


def write_scores(scores: Tensor, path: Path) -> None:
    """Write [out, in] as Parquet, a row an output."""
    schema = scores_schema(scores.shape[1])
    columns = [pa.array(np.arange(scores.shape[0], dtype=np.int32)), vector_column(scores.cpu())]
    with open_parquet(path, schema) as writer:
        writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=row_group_rows(schema))
