"""Which plots a report shows, from the files that it is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_specs.evaluation_files import read_changes_by_tag, read_differences, read_margins
from data_specs.experiment_files import read_experiment
from data_specs.figures import Interval
from data_specs.metrics import GROUPS, PREFERENCES, ZERO_SHOT
from tasks.reporting.edit_plots import depth_plot, flips_plot, margins_plot, tags_plot
from tasks.reporting.layers import LayerShare
from tasks.reporting.model_plots import PlottedModel, PointRole, bars_plot, trade_off_plot
from tasks.reporting.plot import Plot
from tasks.reporting.sources import Sources, display_name

_Figures = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Plots:
    """Each where there is something to be shown."""

    trade_off: Plot | None
    bars: Plot | None
    margins: Plot | None
    flips: Plot | None
    depth: Plot | None
    tags: Plot | None


def plots_of(
    sources: Sources,
    metrics: _Figures,
    intervals: Mapping[str, Mapping[str, Interval]],
    layers: Sequence[LayerShare],
    chance: Mapping[str, float],
) -> Plots:
    """Draw what a run's files hold; all but the first plot are of the second model, which is the edited one."""
    names = [display_name(model) for model in metrics]
    flips = next(iter(sources.flips.values()), None)
    differences = next(iter(sources.differences.values()), None)
    models = _models(sources, metrics, intervals)
    main = [name for name in (ZERO_SHOT, *PREFERENCES, *GROUPS) if all(name in values for values in metrics.values())]
    return Plots(
        trade_off=trade_off_plot(models, chance),
        bars=bars_plot(models[: len(metrics)], main, chance) if metrics else None,
        margins=margins_plot(read_margins(flips), names) if flips else None,
        flips=flips_plot(read_differences(differences)) if differences else None,
        depth=depth_plot(layers),
        tags=tags_plot(read_changes_by_tag(flips)) if flips else None,
    )


def _models(sources: Sources, metrics: _Figures, intervals: Mapping[str, Mapping[str, Interval]]) -> list[PlottedModel]:
    """The report's own models, then those of its experiments, each evaluation once; the paper's were measured on other pairs."""
    found = []
    known: set[str | None] = set()
    for place, (model, folder) in enumerate(sources.evaluations.items()):
        role: PointRole = "control" if model in sources.controls else "edited" if place else "original"
        found.append(PlottedModel(display_name(model), role, metrics[model], intervals[model]))
        known.add(folder.name)
    for kind, folder in sources.experiments.items():
        for row in read_experiment(folder, kind).rows:
            version = row.versions.get("evaluation")
            # Of a sweep or an ablation the original has no version on record, but it is the report's own.
            if row.role == "paper" or version in known or (row.role == "original" and version is None):
                continue
            known.add(version)
            role = "control" if row.role == "control" else "edited" if kind == "comparison" else "point"
            found.append(PlottedModel(row.name, role, row.values, row.intervals))
    return found
