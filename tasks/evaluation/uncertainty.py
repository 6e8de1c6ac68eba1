"""Intervals of every figure of an evaluation, over all pairs and by tag."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from data_specs.schemas import BY_TAG
from tasks.evaluation.counts import labelled_figures, pair_figures, tag_figures
from tasks.evaluation.intervals import Interval, generator, share_interval


def pair_intervals(outcomes: Path, seed: int) -> dict[str, Interval]:
    """95 % interval of each metric of an `outcomes.parquet`, in percent."""
    return {
        figure.metric: share_interval(figure.groups, figure.counts["right"], generator(seed))
        for figure in pair_figures(outcomes)
    }


def labelled_intervals(outcomes: Path, accuracies: Mapping[str, Iterable[str]], seed: int) -> dict[str, Interval]:
    """95 % interval of each accuracy of a `zero_shot_outcomes.parquet` and of their mean over data sets, in percent.

    Args:
        outcomes: the file.
        accuracies: which are asked for, by data set.
        seed: of the resamples.
    """
    return {
        figure.metric: share_interval(figure.groups, figure.counts["right"], generator(seed))
        for figure in labelled_figures(accuracies, outcomes)
    }


def by_tag(outcomes: Path, seed: int) -> pa.Table:
    """Preferences, groups and R@1 of each tag with their intervals.

    Args:
        outcomes: an `outcomes.parquet`.
        seed: of the resamples.

    Returns:
        A row a tag and metric; pairs without a tag are a tag of their own, null, and come last.
    """
    rows = []
    for tag, figures in tag_figures(outcomes).items():
        for figure in figures:
            n_pairs, right = int(figure.groups.sizes[0]), int(figure.counts["right"][0])
            low, high = share_interval(figure.groups, figure.counts["right"], generator(seed))
            rows.append((tag, n_pairs, figure.metric, 100 * right / n_pairs, low, high))
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), BY_TAG, strict=True)]
    return pa.Table.from_arrays(columns, schema=BY_TAG)
