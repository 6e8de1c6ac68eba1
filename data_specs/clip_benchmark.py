"""Figures under the names that CLIP_benchmark writes them with, as shares of 1."""

from collections.abc import Mapping
from typing import Any

from data_specs.metrics import RECALL_AT, recall_name

CLIP_BENCHMARK_FILE = "clip_benchmark.json"
# Between safe texts and safe images, which are its captions and images.
_RETRIEVALS = {"image_retrieval_recall": "Ts-Vs", "text_retrieval_recall": "Vs-Ts"}


def clip_benchmark_records(
    metrics: Mapping[str, float], accuracies: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """What `clip_benchmark eval` would write of these figures: a record a task and data set.

    Args:
        metrics: of an evaluation in percent, by our names.
        accuracies: of each zero-shot data set in percent.
    """
    recalls = {
        f"{theirs}@{k}": metrics[recall_name(ours, k)] / 100 for theirs, ours in _RETRIEVALS.items() for k in RECALL_AT
    }
    records = [{"task": "zeroshot_retrieval", "dataset": "evaluation pairs, safe", "metrics": recalls}]
    for name, found in accuracies.items():
        shares = {accuracy: value / 100 for accuracy, value in found.items()}
        records.append({"task": "zeroshot_classification", "dataset": name, "metrics": shares})
    return records
