"""All that follows from the outcomes of an evaluation: figures, their intervals, figures by tag."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.clip_benchmark import CLIP_BENCHMARK_FILE, clip_benchmark_records
from data_specs.evaluation_files import (
    BY_TAG_FILE,
    CHANCE_FILE,
    INTERVALS_FILE,
    METRICS_FILE,
    ZERO_SHOT_FILE,
    write_json,
)
from data_specs.metrics import accuracies_of, accuracy_name, chance_levels
from data_specs.schemas import BY_TAG
from tasks.evaluation.counts import Accuracies, figures, tag_figures
from tasks.evaluation.intervals import generator


def write_measures(folder: Path, n_classes: Mapping[str, int], seed: int) -> None:
    """Write what the outcomes in a folder say, and what random answers would give, beside them.

    Args:
        folder: holds the outcomes.
        n_classes: of each zero-shot data set.
        seed: of the resamples.
    """
    accuracies: Accuracies = {data_set: accuracies_of(n) for data_set, n in n_classes.items()}
    found = figures(folder, accuracies)
    values = {figure.metric: figure.value for figure in found}
    write_json(folder / INTERVALS_FILE, {figure.metric: figure.interval(generator(seed)) for figure in found})
    single: dict[str, dict[str, float]] = {}
    if accuracies:
        single = {
            data_set: {name: values.pop(accuracy_name(data_set, name)) for name in wanted}
            for data_set, wanted in accuracies.items()
        }
        write_json(folder / ZERO_SHOT_FILE, single)
    write_json(folder / METRICS_FILE, {"n_pairs": found[0].n, **values})
    write_json(folder / CHANCE_FILE, chance_levels((figure.metric for figure in found), found[0].n, n_classes))
    write_json(folder / CLIP_BENCHMARK_FILE, clip_benchmark_records(values, single))
    pq.write_table(by_tag(folder, seed), folder / BY_TAG_FILE)


def by_tag(folder: Path, seed: int) -> pa.Table:
    """The main figures of each tag with their intervals.

    Args:
        folder: holds the outcomes.
        seed: of the resamples.

    Returns:
        A row a tag and metric; pairs without a tag are a tag of their own, null, and come last.
    """
    rows = [
        (tag, figure.n, figure.metric, figure.value, *figure.interval(generator(seed)))
        for tag, found in tag_figures(folder).items()
        for figure in found
    ]
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), BY_TAG, strict=True)]
    return pa.Table.from_arrays(columns, schema=BY_TAG)
