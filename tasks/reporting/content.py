"""What a report shows, gathered from artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from data_specs.figures import Difference
from data_specs.metrics import GROUPS, PREFERENCES, ZERO_SHOT, describe_metric, metric_names, shown_p
from tasks.reporting.comparison_table import ComparisonTable, comparison_table
from tasks.reporting.gallery_section import GallerySection, gallery_section
from tasks.reporting.sources import (
    Figure,
    Interval,
    Sources,
    TagFigures,
    read_comparison,
    read_differences,
    read_gallery,
    read_intervals,
    read_sweep,
    read_tags,
)
from tasks.reporting.sweep_section import SweepSection, sweep_section

TAG_METRICS = ("Txt_s", "Img_s", "PS", "PU", "GS")


@dataclass(frozen=True)
class Change:
    """Points against the original; with the interval and p where the same pairs were compared one by one."""

    value: float
    interval: Interval | None = None
    p: str | None = None


@dataclass(frozen=True)
class MetricRow:
    """One line of the table: percent for each model, and points against the original for all but the first."""

    name: str
    meaning: str
    figures: list[Figure]
    differences: list[Change]


@dataclass(frozen=True)
class TagRow:
    """One tag: figures of each compared model by metric."""

    tag: str | None
    n_pairs: int
    figures: list[list[Figure | None]]


@dataclass(frozen=True)
class TagTable:
    """Tags with most pairs first, pairs without a tag last."""

    models: list[str]
    metrics: Sequence[str]
    rows: list[TagRow]


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
    tags: TagTable
    layers: list[LayerShare]
    verdict: list[str]
    versions: dict[str, str]
    comparison: ComparisonTable | None
    sweep: SweepSection | None
    gallery: GallerySection | None


def build_report(name: str, metrics: Mapping[str, Mapping[str, float]], sources: Sources) -> Report:
    """Gather a report.

    Args:
        name: of the run.
        metrics: model -> metric -> percent; the first model is the original.
        sources: where intervals, tags, layers and further sections are read.

    Returns:
        The report.

    Raises:
        ArtifactError: a file is missing or is not what its name says.
    """
    first = metrics[next(iter(metrics))]
    names = [metric for metric in [ZERO_SHOT, *metric_names()] if metric in first]
    intervals = {model: read_intervals(sources.evaluations[model]) for model in metrics}
    differences = {model: read_differences(path) for model, path in sources.differences.items()}
    rows = [_row(metric, metrics, intervals, differences) for metric in names]
    shown = {ZERO_SHOT, *PREFERENCES, *GROUPS}
    return Report(
        name=name,
        models=[_display(model) for model in metrics],
        n_pairs=int(first["n_pairs"]),
        rows=rows,
        bars=[row for row in rows if row.name in shown],
        tags=_tag_table(list(metrics), sources),
        layers=[_layer(row) for row in pq.read_table(sources.summary).to_pylist()],
        verdict=verdict(metrics),
        versions=dict(sources.versions),
        comparison=comparison_table(read_comparison(sources.comparison)) if sources.comparison else None,
        sweep=sweep_section(*read_sweep(sources.sweep)) if sources.sweep else None,
        gallery=gallery_section(read_gallery(sources.gallery), sources.gallery) if sources.gallery else None,
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
            f"The same edit of as many randomly drawn weights of the same layers gives {control['GS']:.1f} %: the edited"
            f" model is {abs(lead):.1f} points {'above' if lead > 0 else 'below'} that control."
        )
    if ZERO_SHOT in original:
        change = edited[ZERO_SHOT] - original[ZERO_SHOT]
        sentences.append(
            f"Zero-shot accuracy goes from {original[ZERO_SHOT]:.1f} % to {edited[ZERO_SHOT]:.1f} % ({change:+.1f} points)."
        )
    return sentences


def _row(
    metric: str,
    metrics: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, Interval]],
    differences: Mapping[str, Mapping[str, Difference]],
) -> MetricRow:
    figures = [Figure(values[metric], intervals[model].get(metric)) for model, values in metrics.items()]
    changes = [
        _change(figure.value - figures[0].value, differences.get(model, {}).get(metric))
        for model, figure in zip(metrics, figures, strict=True)
    ]
    return MetricRow(metric, describe_metric(metric), figures, changes[1:])


def _change(value: float, found: Difference | None) -> Change:
    if found is None:
        return Change(value)
    return Change(value, (found.low, found.high), None if found.p is None else shown_p(found.p))


def _tag_table(models: list[str], sources: Sources) -> TagTable:
    # Further models would make the table unreadable; their figures lie in their evaluations.
    compared = [models[0], "edited"] if "edited" in models[1:] else models[:2]
    tables = [{row.tag: row for row in read_tags(sources.evaluations[model])} for model in compared]
    listed = sorted(tables[0].values(), key=lambda row: (row.tag is None, -row.n_pairs, row.tag or ""))

    def figures(table: Mapping[str | None, TagFigures], tag: str | None) -> list[Figure | None]:
        found = table[tag].figures if tag in table else {}
        return [found.get(metric) for metric in TAG_METRICS]

    rows = [TagRow(row.tag, row.n_pairs, [figures(table, row.tag) for table in tables]) for row in listed]
    return TagTable([_display(model) for model in compared], TAG_METRICS, rows)


def _display(model: str) -> str:
    return model.replace("_", " ")


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
