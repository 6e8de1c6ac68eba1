"""A layer's scores or slopes from Parquet."""

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_specs.errors import DataError
from data_specs.run_config import Encoder, Rule
from data_specs.schemas import LAYER_FOLDERS, layer_of

SCORES_FILE = "scores.parquet"
SLOPES_FILE = "slopes.parquet"
SUMMARY_FILE = "layer_summary.parquet"

# Unpacked together, so that they stay in the processor's caches until they are in place.
_VALUES_AT_ONCE = 1 << 18


def read_layer(path: Path, column: Literal["score", "slope"]) -> NDArray[np.float32]:
    """[out, in] float32 of a layer's file, rows by output.

    Raises:
        DataError: outputs are not 0, 1, 2, ...
    """
    with pq.ParquetFile(path) as file:
        n_rows, width = file.metadata.num_rows, file.schema_arrow.field(column).type.list_size
        values = np.empty((n_rows, width), np.float32)
        outputs = np.empty(n_rows, np.int64)
        start, at_once = 0, max(1, _VALUES_AT_ONCE // width)
        for batch in file.iter_batches(at_once, columns=["output", column], use_threads=False):
            rows = slice(start, start + len(batch))
            vectors = batch.column(column)
            # Not `flatten`, which copies.
            within = vectors.values.slice(vectors.offset * width, len(vectors) * width)
            values[rows] = within.to_numpy().reshape(-1, width)
            outputs[rows] = batch.column("output").to_numpy()
            start += len(batch)
    if not np.array_equal(outputs, np.arange(n_rows)):
        raise DataError(f"{path}: outputs are not 0 to {n_rows - 1} in order")
    return values


def layer_files(scores: Path) -> dict[str, tuple[Encoder, Path]]:
    """The files of a scores artifact: layer name -> encoder, path; in name order."""
    found = {}
    for path in sorted(scores.glob(f"{LAYER_FOLDERS}/{SCORES_FILE}")):
        encoder, layer = layer_of(path.parent)
        found[layer] = (encoder, path)
    return found


def tabulated_selections(scores: Path) -> dict[tuple[str, Rule, float], tuple[float | None, int]]:
    """What the summary of a scores artifact says: of a layer, rule and tau the smallest selected score, and how many are."""
    table = pq.read_table(scores / SUMMARY_FILE, columns=["layer", "rule", "tau", "threshold", "n_selected"])
    return {(row["layer"], row["rule"], row["tau"]): (row["threshold"], row["n_selected"]) for row in table.to_pylist()}
