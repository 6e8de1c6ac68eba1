"""The summary of scores where a sign filter decides with them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_specs.run_config import Encoder, Rule
from data_specs.schemas import LAYER_SUMMARY
from data_specs.sign_filter import Sign
from tasks.scoring.summary import write_summary
from tasks.selection.scores_table import SLOPES_FILE, layer_files, read_layer
from tasks.selection.sign import kept_by_sign, select_kept


def write_signed_summary(
    scores: Path,
    n_pairs: Mapping[str, int],
    asked: Mapping[Encoder, Sequence[tuple[Rule, float]]],
    signs: Mapping[Encoder, Sign],
    weights: Mapping[str, NDArray[np.float32]],
    path: Path,
) -> None:
    """Write `layer_summary.parquet`, with what is selected of those weights that the filter leaves.

    Args:
        scores: folder with `scores.parquet` of each layer and, where its encoder has a filter, `slopes.parquet`.
        n_pairs: as in `write_summary`.
        asked: as in `write_summary`.
        signs: the filters, by encoder.
        weights: [out, in] by layer.
        path: the file to write.

    Raises:
        NotSelectable: a rule cannot be applied to a layer's scores; the layer is named.
    """
    write_summary(scores, n_pairs, asked, path)
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    for layer, (encoder, file) in layer_files(scores).items():
        sign = signs.get(encoder, "none")
        if sign == "none":
            continue
        values, slopes = read_layer(file, "score"), read_layer(file.with_name(SLOPES_FILE), "slope")
        kept = kept_by_sign(weights[layer], slopes, sign)
        for row in rows:
            if row["layer"] == layer:
                selection = select_kept(values, row["rule"], row["tau"], kept)
                n_selected = len(selection.index)
                row |= {
                    "threshold": selection.threshold,
                    "n_selected": n_selected,
                    "selected_share": n_selected / row["n_weights"],
                }
    pq.write_table(pa.Table.from_pylist(rows, schema=LAYER_SUMMARY), path)
