"""Scores of every target layer of one encoder, from statistics on disk to Parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.run_config import Aggregation, Encoder
from data_specs.schemas import scores_schema
from tasks.extraction.columns import vector_column
from tasks.extraction.table_writer import open_parquet, row_group_rows
from tasks.lineage.progress import advance
from tasks.lineage.store import Build
from tasks.scoring.aggregate import LayerStatistics
from tasks.scoring.saliency import ChannelStats, MeanOfRatios, NotComparable, RatioOfMeans


def write_layer_scores(
    build: Build,
    statistics: Path,
    weights: dict[str, Tensor],
    *,
    encoder: Encoder,
    aggregation: Aggregation,
    weight_by_magnitude: bool,
    tags: list[str] | None,
    device: torch.device,
    stage: str,
) -> None:
    """Score layer by layer; a layer is a part of the build, so a killed run keeps the finished ones.

    Args:
        build: takes `encoder=.../layer=.../scores.parquet`.
        statistics: folder of an activations artifact.
        weights: [out, in] by layer name.
        encoder: whose layers these are.
        aggregation: how pairs are brought together.
        weight_by_magnitude: multiply scores by |W|.
        tags: pairs to use, None for all.
        device: where the products run.
        stage: under which progress is reported.

    Raises:
        DataError: no pair is left, or a score is NaN or infinite; the layer and pair are named.
    """
    counts: dict[str, Any] = {}
    for index, (layer, weight) in enumerate(weights.items()):
        part = f"{index:06d}"
        record = build.parts.record(part)
        if record is None:
            folder = f"encoder={encoder}/layer={layer}"
            rows = LayerStatistics(statistics / folder, tags)
            try:
                scores, record = aggregate_layer(rows, weight.to(device), aggregation)
            except DataError as error:
                raise DataError(f"layer {layer}: {error}") from error
            if weight_by_magnitude:
                scores *= weight.to(device).float().abs()
            path = build.folder / folder / "scores.parquet"
            write_scores(scores, path)
            build.parts.finish(part, [path], record)
        counts[layer] = record
        advance(stage)
    build.counts["layers"] = counts


def aggregate_layer(rows: LayerStatistics, weight: Tensor, aggregation: Aggregation) -> tuple[Tensor, dict[str, int]]:
    """Scores [out, in] float32 of one layer and what they were taken over.

    Raises:
        DataError: no pair is left, widths do not fit, or a ratio is NaN or infinite.
    """
    device = weight.device
    if aggregation == "mean_of_ratios":
        mean = MeanOfRatios(weight)
        for pairs in rows.pairs():
            try:
                mean.add(_to(pairs.safe, device), _to(pairs.unsafe, device))
            except NotComparable as error:
                raise DataError(
                    f"pair {pairs.pair_ids[error.row]}: the unsafe/safe ratio of {error.axis} channel {error.channel} is NaN"
                    " or infinite, as over a channel without activity; use aggregation ratio_of_means or fewer layers"
                ) from error
        if mean.n_pairs == 0:
            raise DataError("no pair with both sides is left to score; look at the tags and at the shards")
        return mean.scores(), {"n_pairs": mean.n_pairs, "n_unmatched_rows": rows.n_unmatched}
    ratio = RatioOfMeans(weight)
    for side in rows.sides():
        ratio.add(side.content, _to(side.stats, device))
    n_pairs = min(ratio.n_samples.values())
    try:
        scores = ratio.scores()
    except NotComparable as error:
        raise DataError(
            f"the unsafe/safe ratio of the weight at output {error.row}, input {error.channel} is NaN or infinite, as over"
            " a channel without activity in all safe samples; use fewer layers"
        ) from error
    return scores, {"n_pairs": n_pairs, **{f"n_{side}": n for side, n in ratio.n_samples.items()}}


def write_scores(scores: Tensor, path: Path) -> None:
    """Write [out, in] as Parquet, a row an output."""
    schema = scores_schema(scores.shape[1])
    columns = [pa.array(np.arange(scores.shape[0], dtype=np.int32)), vector_column(scores.cpu())]
    with open_parquet(path, schema) as writer:
        writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=row_group_rows(schema))


def _to(stats: ChannelStats, device: torch.device) -> ChannelStats:
    return ChannelStats(stats.norm.to(device), stats.std.to(device))
