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


def read_layer(path: Path, column: Literal["score", "slope"]) -> NDArray[np.float32]:
    """[out, in] float32 of a layer's file, rows by output.

    Raises:
        DataError: outputs are not 0, 1, 2, ...
    """
    table = pq.read_table(path)
    outputs = table.column("output").to_numpy()
    if not np.array_equal(outputs, np.arange(len(outputs))):
        raise DataError(f"{path}: outputs are not 0 to {len(outputs) - 1} in order")
    width = table.schema.field(column).type.list_size
    values: NDArray[np.float32] = table.column(column).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(outputs), width)


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
