"""What a report shows, gathered from artifacts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from data_specs.metrics import GROUPS, PREFERENCES, ZERO_SHOT, describe_metric, metric_names


@dataclass(frozen=True)
class MetricRow:
    """One line of the table: percent for each model, and points against the original for all but the first."""

    name: str
    meaning: str
    values: list[float]
    differences: list[float]


@dataclass(frozen=True)
class LayerShare:
    """How much of one layer was selected: count, share of its weights (0 to 1), and the rule."""

    encoder: str
    layer: str
    n_selected: int
    n_weights: int
    share: float
    rule: str
    tau: float


@dataclass(frozen=True)
class Report:
    """All that the template needs; texts are escaped there."""

    name: str
    models: list[str]
    n_pairs: int
    rows: list[MetricRow]
    bars: list[MetricRow]
    layers: list[LayerShare]
    verdict: list[str]
    versions: dict[str, str]


def build_report(
    name: str, metrics: Mapping[str, Mapping[str, float]], summary: Path, versions: Mapping[str, str]
) -> Report:
    """Gather a report.

    Args:
        name: of the run.
        metrics: model -> metric -> percent; the first model is the original.
        summary: `layer_summary.parquet` of the scores.
        versions: artifact name -> version, for the record at the end.

    Returns:
        The report.
    """
    models = list(metrics)
    first = metrics[models[0]]
    names = [metric for metric in [ZERO_SHOT, *metric_names()] if metric in first]
    rows = [_row(metric, metrics) for metric in names]
    shown = {ZERO_SHOT, *PREFERENCES, *GROUPS}
    return Report(
        name=name,
        models=[model.replace("_", " ") for model in models],
        n_pairs=int(first["n_pairs"]),
        rows=rows,
        bars=[row for row in rows if row.name in shown],
        layers=[_layer(row) for row in pq.read_table(summary).to_pylist()],
        verdict=verdict(metrics),
        versions=dict(versions),
    )


def verdict(metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the numbers say, in sentences that follow from them alone."""
    if "edited" not in metrics or "original" not in metrics:
        return []
    original, edited = metrics["original"], metrics["edited"]
    sentences = [
        f"All four choices of a pair are safe (GS) in {original['GS']:.1f} % of pairs before the edit and in"
        f" {edited['GS']:.1f} % after it ({edited['GS'] - original['GS']:+.1f} points)."
    ]
    if "random_control" in metrics:
        control = metrics["random_control"]
        lead = edited["GS"] - control["GS"]
        sentences.append(
            f"Negating as many randomly drawn weights of the same layers gives {control['GS']:.1f} %: UWM is"
            f" {abs(lead):.1f} points {'above' if lead > 0 else 'below'} that control."
        )
    if ZERO_SHOT in original:
        change = edited[ZERO_SHOT] - original[ZERO_SHOT]
        sentences.append(
            f"Zero-shot accuracy goes from {original[ZERO_SHOT]:.1f} % to {edited[ZERO_SHOT]:.1f} % ({change:+.1f} points)."
        )
    return sentences


def _row(metric: str, metrics: Mapping[str, Mapping[str, float]]) -> MetricRow:
    values = [model[metric] for model in metrics.values()]
    return MetricRow(metric, describe_metric(metric), values, [value - values[0] for value in values[1:]])


def _layer(row: dict[str, object]) -> LayerShare:
    return LayerShare(
        encoder=str(row["encoder"]),
        layer=str(row["layer"]),
        n_selected=int(str(row["n_selected"])),
        n_weights=int(str(row["n_weights"])),
        share=float(str(row["selected_share"])),
        rule=str(row["rule"]),
        tau=float(str(row["tau"])),
    )
