"""A line a layer, rule and tau: how scores are spread, and what would be selected."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import NotSelectable
from data_specs.run_config import Encoder, Rule
from data_specs.schemas import LAYER_SUMMARY
from tasks.extraction.table_reader import connect, query, stream_rows
from tasks.selection.rules import select
from tasks.selection.scores_table import layer_files, read_layer

_SPREAD_SQL = """
    SELECT count(*) AS n_weights, sum(value) AS sum, avg(value) AS mean,
           quantile_disc(value, [0, 0.25, 0.5, 0.75, 0.99, 1]) AS quantiles
    FROM (SELECT unnest(score) AS value FROM scores)
"""

_SUMMARY_SQL = """
    SELECT spread.encoder, spread.layer, n_pairs, n_weights, "sum", mean,
           quantiles[1] AS min, quantiles[2] AS p25, quantiles[3] AS p50, quantiles[4] AS p75, quantiles[5] AS p99,
           quantiles[6] AS max,
           rule, tau, threshold, n_selected, n_selected / n_weights AS selected_share
    FROM spread JOIN selections USING (layer)
    ORDER BY spread.encoder, spread."order", rule, tau
"""


def write_summary(
    scores: Path, n_pairs: Mapping[str, int], asked: Mapping[Encoder, Sequence[tuple[Rule, float]]], path: Path
) -> None:
    """Write `layer_summary.parquet` for a folder of scores.

    Args:
        scores: folder with `encoder=.../layer=.../scores.parquet`.
        n_pairs: pairs behind each layer's scores; its order is the order of layers.
        asked: rules and taus to tabulate, by encoder.
        path: the file to write.

    Raises:
        NotSelectable: a rule cannot be applied to a layer's scores; the layer is named.
    """
    # Sums of floats over several threads differ in the last digits from run to run.
    connection = connect(threads=1)
    files = layer_files(scores)
    spreads, selections = [], []
    for order, (layer, pairs) in enumerate(n_pairs.items()):
        encoder, file = files[layer]
        (spread,) = query(_SPREAD_SQL, {"scores": stream_rows([file], ("score",))}, connection=connection).to_pylist()
        spreads.append({"encoder": encoder, "layer": layer, "order": order, "n_pairs": pairs, **spread})
        values = read_layer(file, "score")
        for rule, tau in asked[encoder]:
            try:
                selection = select(values, rule, tau)
            except NotSelectable as error:
                raise NotSelectable(f"layer {layer}: {error}") from error
            selections.append(
                {
                    "layer": layer,
                    "rule": rule,
                    "tau": tau,
                    "threshold": selection.threshold,
                    "n_selected": len(selection.index),
                }
            )
    relations = {
        "spread": pa.Table.from_pylist(spreads),
        "selections": pa.Table.from_pylist(selections, schema=_SELECTIONS),
    }
    table = query(_SUMMARY_SQL, relations, connection=connection)
    pq.write_table(table.cast(LAYER_SUMMARY), path)


_SELECTIONS = pa.schema(
    [
        ("layer", pa.string()),
        ("rule", pa.string()),
        ("tau", pa.float64()),
        ("threshold", pa.float32()),
        ("n_selected", pa.int64()),
    ]
)
