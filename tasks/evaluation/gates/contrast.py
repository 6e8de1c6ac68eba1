"""Outcomes of the same rows in several evaluations, each with a weight: what their weighted sum is, and how sure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from data_specs.evaluation_files import OUTCOME_TABLES, read_figures, read_zero_shot
from data_specs.metrics import MEAN_OVER_CLASSES, ZERO_SHOT, Metric
from tasks.extraction.table_reader import query, stream_rows


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of a figure over evaluations, shares in percent, on the rows that all of them have."""

    mean: float
    standard_error: float  # of other rows like these
    values: Mapping[Path, float]  # the figure of each on those rows
    n: int


def weighted_outcomes(metric: Metric, weights: Mapping[Path, float]) -> Contrast | None:
    """The weighted sum of a figure, row by row: what rows share, as they are hard or easy, drops out.

    Source: the linear contrast of repeated measures; its variance is that of the rows' own weighted sums.

    Args:
        metric: what is asked.
        weights: of each evaluation's folder.

    Returns:
        None where there are less than two evaluations, or nothing of them can be compared: a figure or a data set is
        missing, no two rows are of all, or the figure is a retrieval's and its candidates are not the same in all.
    """
    table = OUTCOME_TABLES[metric.of]
    if len(weights) < 2 or not all(_holds(folder, metric) for folder in weights):
        return None
    groups = _groups(metric)
    streams = {
        f"part{place}": stream_rows([folder / table.file], sorted({*table.same, metric.outcome}))
        for place, folder in enumerate(weights)
    }
    data_set = _single_data_set(metric)
    names = [data_set] * len(weights) if data_set is not None else []
    found = query(_sql(metric, list(weights.values()), groups), streams, parameters=names)
    n_rows = found.column("n").to_numpy()
    n = int(n_rows.sum())
    is_ranked = metric.ranked in ("pairs", "members")
    other_candidates = is_ranked and any(pq.read_metadata(folder / table.file).num_rows != n for folder in weights)
    expected = len(read_zero_shot(next(iter(weights)))) if metric.name == ZERO_SHOT else 1
    if n < 2 or other_candidates or len(n_rows) < expected:
        return None
    variance = float(np.sum(found.column("variance").to_numpy() / n_rows)) / len(n_rows) ** 2
    values = {folder: float(found.column(f"value{place}").to_numpy().mean()) for place, folder in enumerate(weights)}
    return Contrast(float(found.column("contrast").to_numpy().mean()), math.sqrt(variance), values, n)


def _holds(folder: Path, metric: Metric) -> bool:
    return (folder / OUTCOME_TABLES[metric.of].file).is_file() and metric.name in read_figures(folder)


def _groups(metric: Metric) -> list[str]:
    """What the figure is the mean over of shares of."""
    if metric.name == ZERO_SHOT:
        return ["data_set"]
    return ["label"] if metric.name.endswith(f".{MEAN_OVER_CLASSES}") else []


def _single_data_set(metric: Metric) -> str | None:
    if metric.of != "image" or metric.name == ZERO_SHOT:
        return None
    return metric.name.removeprefix(f"{ZERO_SHOT}.").rpartition(".")[0]


def _sql(metric: Metric, weights: list[float], groups: list[str]) -> str:
    key = ", ".join(OUTCOME_TABLES[metric.of].same)
    value = f'"{metric.outcome}"'
    if metric.kind == "share":
        value = f"100.0 * ({value}{'' if metric.below is None else f' < {metric.below}'})::INTEGER"
    within = "" if _single_data_set(metric) is None else " WHERE data_set = ?"
    parts = [
        f"SELECT {key}, {place} AS part, {value} AS value, {weight!r}::DOUBLE * value AS weighted FROM part{place}{within}"
        for place, weight in enumerate(weights)
    ]
    of_parts = ", ".join(f"sum(value) FILTER (part = {place}) AS value{place}" for place in range(len(weights)))
    means = ", ".join(f"avg(value{place}) AS value{place}" for place in range(len(weights)))
    grouped = f" GROUP BY {', '.join(groups)} ORDER BY {', '.join(groups)}" if groups else ""
    return f"""
        SELECT count(*) AS n, avg(weighted) AS contrast, coalesce(var_samp(weighted), 0.0) AS variance, {means}
        FROM (
            SELECT {key}, sum(weighted) AS weighted, {of_parts}
            FROM ({" UNION ALL ".join(parts)})
            GROUP BY {key} HAVING count(*) = {len(weights)} AND count(DISTINCT part) = {len(weights)}
        ){grouped}
    """
