"""Values of every target layer of one encoder, from statistics or slopes to Parquet."""

from collections.abc import Callable, Iterable, Iterator, Mapping
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
from tasks.extraction.windows import Branch, Tree
from tasks.lineage.progress import counted
from tasks.lineage.store import Build
from tasks.scoring.aggregate import LayerStatistics, WindowRows
from tasks.scoring.saliency import NotComparable
from tasks.scoring.scorer import PairScores, SideScores
from tasks.scoring.total import Sums
from tasks.selection.scores_table import SCORES_FILE

LayerScorer = Callable[[str, Tensor], tuple[Tensor, dict[str, Any]]]
LayerValues = Callable[[str], tuple[Tensor, dict[str, Any]]]


def write_layer_scores(
    build: Build,
    weights: Mapping[str, Tensor],
    score: LayerScorer,
    *,
    encoder: Encoder,
    weight_by_magnitude: bool,
    device: torch.device,
) -> None:
    """Score layer by layer; see `write_layers`.

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

    def scores_of(layer: str) -> tuple[Tensor, dict[str, Any]]:
        weight = weights[layer].to(device)
        scores, record = score(layer, weight)
        return scores * weight.float().abs() if weight_by_magnitude else scores, record

    layers = counted(f"scores.{encoder}", [*weights], "layers")
    write_layers(build, encoder, layers, scores_of, SCORES_FILE, scores_schema)


def write_layers(
    build: Build,
    encoder: Encoder,
    layers: Iterable[str],
    values_of: LayerValues,
    file: str,
    schema_of: Callable[[int], pa.Schema],
) -> None:
    """Write what was found for each layer; a layer is a part of the build, so a killed run keeps the finished ones.

    Args:
        build: takes `encoder=.../layer=.../FILE` and, by layer, what to record.
        encoder: whose layers these are.
        layers: their names.
        values_of: from a layer's name to its values [out, in] float32 and what to record; not asked for finished ones.
        file: the name of a layer's file.
        schema_of: its schema, by the layer's input size.

    Raises:
        DataError: a value is NaN or infinite, or there are none; the layer is named.
    """
    counts: dict[str, Any] = {}
    for index, layer in enumerate(layers):
        part = f"layer-{index:06d}"
        record = build.parts.record(part)
        if record is None:
            path = build.folder / layer_folder(encoder, layer) / file
            try:
                values, record = values_of(layer)
                write_layer(values, path, schema_of)
            except DataError as error:
                raise DataError(f"layer {layer}: {error}") from error
            build.parts.finish(part, [path], record)
        counts[layer] = record
    build.counts["layers"] = counts


def write_layer(values: Tensor, path: Path, schema_of: Callable[[int], pa.Schema]) -> None:
    """Write [out, in] float32 as Parquet, a row an output.

    Raises:
        DataError: a value is NaN or infinite.
    """
    schema = schema_of(values.shape[1])
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        output, channel = (int(i) for i in (~finite).nonzero()[0])
        raise DataError(
            f"the {schema.names[1]} of the weight at output {output}, input {channel} is NaN or infinite; look at the"
            " precision"
        )
    columns = [pa.array(np.arange(values.shape[0], dtype=np.int32)), vector_column(values.cpu())]
    with open_parquet(path, schema) as writer:
        writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=row_group_rows(schema))


def aggregate_layer(rows: LayerStatistics, scores: PairScores | SideScores) -> tuple[Tensor, dict[str, int]]:
    """Scores [out, in] float32 of one layer and what they were taken over.

    Raises:
        DataError: no pair is left, widths do not fit, or a ratio is NaN or infinite.
    """
    scores.sums = _summed(rows.tree, rows.rows(), rows.window, scores)
    found, counts = scores_of_sums(scores)
    return found, counts if isinstance(scores, SideScores) else {**counts, "n_unmatched_rows": rows.n_unmatched}


def _summed(tree: Tree, windows: Iterator[pa.Table], window: WindowRows, scores: PairScores | SideScores) -> Sums:
    """What the windows of a tree come to, which are taken from `windows` in their order."""
    if isinstance(tree, Branch):
        sums = _summed(tree.left, windows, window, scores)
        sums.join(_summed(tree.right, windows, window, scores))
        return sums
    scores.sums = Sums(tuple(scores.sums.counts))
    for _ in tree.windows:
        add_window(next(windows), window, scores)
    return scores.sums


def add_window(rows: pa.Table, window: WindowRows, scores: PairScores | SideScores) -> None:
    """Add the rows of one window to what a scorer has added up.

    Raises:
        DataError: widths do not fit, or a pair has no ratio; it is named.
    """
    if isinstance(scores, SideScores):
        for content in scores.n_samples:
            side = window.side(rows, content)
            if side is not None:
                scores.add(content, side.stats)
        return
    pairs = window.pairs(rows)
    if pairs is None:
        return
    try:
        scores.add(pairs.safe, pairs.unsafe)
    except NotComparable as error:
        raise DataError(
            f"pair {pairs.pair_ids[error.row]}: the unsafe/safe ratio of {error.axis} channel {error.channel} is NaN"
            " or infinite, as over a channel without activity; use aggregation ratio_of_means or fewer layers"
        ) from error


def scores_of_sums(scores: PairScores | SideScores) -> tuple[Tensor, dict[str, int]]:
    """Scores [out, in] float32 from what a scorer has added up, and over how many samples.

    Raises:
        DataError: there is no pair or a side without samples, or a ratio is NaN or infinite.
    """
    if not isinstance(scores, SideScores):
        return scores.scores(), {"n_pairs": scores.n_pairs}
    try:
        found = scores.scores()
    except NotComparable as error:
        raise DataError(
            f"the unsafe/safe ratio of the weight at output {error.row}, input {error.channel} is NaN or infinite, as over"
            " a channel without activity in all safe samples; use fewer layers"
        ) from error
    n_samples = scores.n_samples
    return found, {"n_pairs": min(n_samples.values()), **{f"n_{side}": n for side, n in n_samples.items()}}
