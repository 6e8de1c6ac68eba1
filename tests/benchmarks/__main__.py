"""`make bench`: one JSON object a line; every figure is a ratio measured in this one process."""

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tests.benchmarks import (
    asking,
    decoding,
    extraction,
    folded,
    gradients,
    memory,
    metrics,
    scaling,
    scoring,
    selection,
    small_shards,
    start_up,
    sweep,
)

BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "extract_over_forward": extraction.extract_over_forward,
    "decoder_speedup": decoding.decoder_speedup,
    "scoring_speedup_over_materialised": scoring.scoring_speedup_over_materialised,
    "selection_speedup_over_sort": selection.selection_speedup_over_sort,
    "metrics_speedup_over_matrices": metrics.metrics_speedup_over_matrices,
    "peak_memory_16x_over_1x_pairs": memory.peak_memory_16x_over_1x_pairs,
    "evaluation_memory_over_inputs": memory.evaluation_memory_over_inputs,
    "sweep_point_over_evaluation": sweep.sweep_point_over_evaluation,
    "sweep_10_points_over_1": sweep.sweep_10_points_over_1,
    "grid_cost_over_passes": sweep.grid_cost_over_passes,
    "summary_and_selection_seconds": selection.summary_and_selection_seconds,
    "small_files_over_large": memory.small_files_over_large,
    "folded_bytes_over_rows": folded.folded_bytes_over_rows,
    "folded_time_over_rows": folded.folded_time_over_rows,
    "folded_memory_16x_over_1x_pairs": folded.folded_memory_16x_over_1x_pairs,
    "memory_of_a_tag_over_two_sums": folded.memory_of_a_tag_over_two_sums,
    "small_shards_over_large": small_shards.small_shards_over_large,
    "start_up_over_imports": start_up.start_up_over_imports,
    **{f"scaling_{n}_workers": partial(scaling.scaling, n) for n in (2, 4, 8)},
    "lineage_seconds_over_imports": asking.lineage_seconds_over_imports,
    "gradient_scorer_memory_4x_over_1x_pairs": gradients.gradient_scorer_memory_4x_over_1x_pairs,
}


def main(names: list[str]) -> None:
    torch.manual_seed(0)
    for name in names or BENCHMARKS:
        sys.stdout.write(json.dumps({"name": name, **BENCHMARKS[name]()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
