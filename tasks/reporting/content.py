"""What a report shows, gathered from artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_specs.evaluation_files import read_chance, read_changes_by_tag, read_differences, read_intervals, read_metrics
from data_specs.experiment_files import read_experiment
from data_specs.figures import Difference, Interval, PartChange
from data_specs.gallery import Gallery
from data_specs.metrics import GROUPS, METRICS, Metric, find_metric, shown_p
from data_specs.overlap import read_overlap
from data_specs.reading import read_spec
from data_specs.sign_filter import SIGN_NOTE
from tasks.reporting.caption_section import CaptionSection, caption_section
from tasks.reporting.experiment_section import ExperimentSection, experiment_section
from tasks.reporting.flip_section import CertaintyTable, FlipSection, certainty_table, flip_section
from tasks.reporting.gallery_section import GallerySection, gallery_section
from tasks.reporting.layers import LayerShare, edited_layers, selectable_layers
from tasks.reporting.shown_plots import Plots, plots_of
from tasks.reporting.sources import (
    GALLERY_FILE,
    BoxRow,
    ShownDifference,
    ShownFigure,
    Sources,
    TagFigures,
    display_name,
    read_tags,
)
from tasks.tables.cells import measured_in
from tasks.tables.experiment_verdict import experiment_verdict
from tasks.tables.verdict import edit_sizes, run_verdict


@dataclass(frozen=True)
class MetricRow:
    """One line of the table: a figure for each model, points against the original for all but the first, and chance."""

    metric: Metric
    figures: list[ShownFigure]
    differences: list[ShownDifference]
    chance: float | None = None


@dataclass(frozen=True)
class TagRow:
    """One tag: figures of each compared model by metric, and differences between the two on the same pairs where they were taken."""

    tag: str | None
    n_pairs: int
    figures: list[list[ShownFigure | None]]
    differences: list[ShownDifference | None]


@dataclass(frozen=True)
class TagTable:
    """Tags with most pairs first, pairs without a tag last."""

    models: list[str]
    metrics: Sequence[Metric]
    rows: list[TagRow]
    chance: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """All that the template needs; texts are escaped there."""

    name: str
    models: list[str]
    n_pairs: int
    rows: list[MetricRow]
    tags: TagTable
    layers: list[LayerShare]
    selectable: list[LayerShare]
    verdict: list[str]
    warnings: list[str]
    box: Sequence[BoxRow]
    versions: dict[str, str]
    units: str
    experiments: list[ExperimentSection]
    gallery: GallerySection | None
    remarks: list[str]
    plots: Plots
    certainty: CertaintyTable | None
    flips: FlipSection | None
    captions: CaptionSection | None


def build_report(name: str, sources: Sources) -> Report:
    """Gather a report.

    Args:
        name: of the run.
        sources: where figures, tags, layers and further sections are read; the first model is the original. Without an
            evaluation the report is of captions alone.

    Returns:
        The report.

    Raises:
        ArtifactError: a file is missing or is not what its name says.
    """
    metrics = {model: read_metrics(path) for model, path in sources.evaluations.items()}
    first = metrics[next(iter(metrics))] if metrics else {}
    names = [metric for metric in METRICS if metric in first]
    intervals = {model: read_intervals(sources.evaluations[model]) for model in metrics}
    differences = {model: read_differences(path) for model, path in sources.differences.items()}
    chance = read_chance(next(iter(sources.evaluations.values()))) if metrics else {}
    rows = [_row(metric, metrics, intervals, differences, chance) for metric in names]
    layers = edited_layers(sources.edit)
    captions = caption_section(sources.captions) if sources.captions else None
    return Report(
        name=name,
        models=[display_name(model) for model in metrics],
        n_pairs=int(first.get("n_pairs", 0)),
        rows=rows,
        tags=_tag_table(list(metrics), sources, chance) if metrics else TagTable([], (), []),
        layers=layers,
        selectable=selectable_layers(sources.summary, layers),
        verdict=[*_verdict(differences, chance, sources), *(captions.verdict if captions else [])],
        warnings=read_overlap(sources.overlap).sentences if sources.overlap else [],
        box=sources.box,
        versions=dict(sources.versions),
        units=measured_in(names),
        experiments=[experiment_section(path, kind) for kind, path in sources.experiments.items()],
        gallery=gallery_section(read_spec(Gallery, sources.gallery / GALLERY_FILE), sources.gallery)
        if sources.gallery
        else None,
        remarks=[SIGN_NOTE] if sources.signs else [],
        plots=plots_of(sources, metrics, intervals, layers, chance),
        certainty=certainty_table(sources.flips, next(iter(metrics), ""), chance),
        flips=flip_section(sources.flips, sources.flip_gallery),
        captions=captions,
    )


def _verdict(
    differences: Mapping[str, Mapping[str, Difference]], chance: Mapping[str, float], sources: Sources
) -> list[str]:
    """Of the second model, which is the edited one; without one, of the experiments."""
    edited = next(iter(differences), None)
    if edited is None:
        experiments = (read_experiment(path, kind) for kind, path in sources.experiments.items())
        return [sentence for experiment in experiments for sentence in experiment_verdict(experiment)]
    return run_verdict(
        differences[edited],
        chance=chance,
        sizes=edit_sizes(sources.edit) if sources.edit else (),
        lead=read_differences(sources.lead) if sources.lead else None,
    )


def _row(
    metric: str,
    metrics: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, Interval]],
    differences: Mapping[str, Mapping[str, Difference]],
    chance: Mapping[str, float],
) -> MetricRow:
    figures = [ShownFigure(values[metric], intervals[model].get(metric)) for model, values in metrics.items()]
    changes = [
        _shown_difference(metric, figure.value - figures[0].value, differences.get(model, {}).get(metric))
        for model, figure in zip(metrics, figures, strict=True)
    ]
    return MetricRow(find_metric(metric), figures, changes[1:], chance.get(metric))


def _shown_difference(metric: str, value: float, found: Difference | None) -> ShownDifference:
    gain = find_metric(metric).gain(value)
    if found is None:
        return ShownDifference(value, gain)
    return ShownDifference(value, gain, (found.low, found.high), None if found.p is None else shown_p(found.p))


def _tag_table(models: list[str], sources: Sources, chance: Mapping[str, float]) -> TagTable:
    # Further models would make the table unreadable; their figures lie in their evaluations.
    compared = [models[0], "edited"] if "edited" in models[1:] else models[:2]
    tables = [{row.tag: row for row in read_tags(sources.evaluations[model])} for model in compared]
    listed = sorted(tables[0].values(), key=lambda row: (row.tag is None, -row.n_pairs, row.tag or ""))

    measured = {name for row in listed for name in row.figures}
    shown = [
        metric for name, metric in METRICS.items() if name in measured and (name in GROUPS or metric.of == "caption")
    ]

    def figures(table: Mapping[str | None, TagFigures], tag: str | None) -> list[ShownFigure | None]:
        found = table[tag].figures if tag in table else {}
        return [found.get(metric.name) for metric in shown]

    folder = sources.flips.get(compared[-1])
    changes = {(row.tag, row.metric): row for row in read_changes_by_tag(folder)} if folder else {}

    def differences(tag: str | None) -> list[ShownDifference | None]:
        found = [changes.get((tag, metric.name)) for metric in shown]
        return [None if row is None else _tag_difference(row) for row in found] if any(found) else []

    rows = [
        TagRow(row.tag, row.n_pairs, [figures(table, row.tag) for table in tables], differences(row.tag))
        for row in listed
    ]
    levels = [metric.shown(chance[metric.name]) if metric.name in chance else "" for metric in shown]
    return TagTable([display_name(model) for model in compared], shown, rows, levels if chance else ())


def _tag_difference(row: PartChange) -> ShownDifference:
    gain = find_metric(row.metric).gain(row.difference)
    return ShownDifference(row.difference, gain, (row.difference_low, row.difference_high), shown_p(row.p))
