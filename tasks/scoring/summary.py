"""A line a layer, rule and tau: how scores are spread, and what would be selected."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import NotSelectable
from data_specs.run_config import Encoder, Rule
from data_specs.schemas import LAYER_SUMMARY
from tasks.selection.ranking import Ranking
from tasks.selection.rules import selected_from
from tasks.selection.scores_table import layer_files, read_layer

_QUANTILES = {"min": 0.0, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p99": 0.99, "max": 1.0}


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
    files = layer_files(scores)
    rows: list[dict[str, Any]] = []
    for layer, pairs in n_pairs.items():
        encoder, file = files[layer]
        try:
            rows += _layer_rows(Ranking(read_layer(file, "score")), asked[encoder], encoder, layer, pairs)
        except NotSelectable as error:
            raise NotSelectable(f"layer {layer}: {error}") from error
    rows.sort(key=lambda row: str(row["encoder"]))
    pq.write_table(pa.Table.from_pylist(rows, schema=LAYER_SUMMARY), path)


def _layer_rows(
    ranking: Ranking, asked: Sequence[tuple[Rule, float]], encoder: Encoder, layer: str, n_pairs: int
) -> Iterator[dict[str, Any]]:
    shares, masses = ([tau for rule, tau in asked if rule == name] for name in ("top_share", "score_mass"))
    ranking.prepare([*_QUANTILES.values(), *shares], masses)
    spread = {
        "n_weights": ranking.size,
        "sum": ranking.total,
        "mean": ranking.total / ranking.size,
        **dict(zip(_QUANTILES, ranking.quantiles(_QUANTILES.values()), strict=True)),
    }
    for rule, tau in sorted(asked):
        n_left, threshold = selected_from(ranking, rule, tau)
        n_selected = ranking.size - n_left
        yield {
            "encoder": encoder,
            "layer": layer,
            "n_pairs": n_pairs,
            **spread,
            "rule": rule,
            "tau": tau,
            "threshold": threshold,
            "n_selected": n_selected,
            "selected_share": n_selected / ranking.size,
        }
