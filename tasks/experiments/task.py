"""Comparisons, sweeps and ablations as artifacts, from the evaluations of their models."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import JsonValue

from data_specs.choosing import Choice, ChooseBy
from data_specs.evaluation_files import read_chance, read_differences, read_figures, read_intervals, read_metrics
from data_specs.experiment import Experiment, Kind, LeftOut, Role, Row, comparison_columns
from data_specs.experiment_files import experiment_file, experiment_json
from data_specs.manifest import ArtifactRef, Inputs, Recipe
from data_specs.metrics import ordered_metrics
from data_specs.spec import Spec
from tasks.experiments.choice import Limit, choose_point, keeping_points, parse_limits
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.tables.columns import experiment_csv, experiment_parquet
from tasks.tables.documents import experiment_latex, experiment_markdown
from tasks.tables.kinds import KINDS
from tasks.tables.verdict import HEADLINE


def _figure(experiment: Experiment) -> str:
    from tasks.tables.sweep_figure import sweep_figure  # brings matplotlib, which only a sweep needs

    return sweep_figure(experiment)


_TEXTS: dict[str, Callable[[Experiment], str]] = {
    "json": experiment_json,
    "csv": experiment_csv,
    "md": experiment_markdown,
    "tex": experiment_latex,
    "svg": _figure,
}


@dataclass(frozen=True)
class MeasuredModel:
    """One model of an experiment and its artifacts; the original has no edit and no differences."""

    name: str
    role: Role
    evaluation: ArtifactRef
    edit: ArtifactRef | None = None
    differences: ArtifactRef | None = None
    lead: ArtifactRef | None = None  # differences from its own control
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    axes: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def artifacts(self) -> dict[str, ArtifactRef]:
        """By role in the experiment; those that it has."""
        found = {
            "evaluation": self.evaluation,
            "edit": self.edit,
            "differences": self.differences,
            "over_control": self.lead,
        }
        return {role: ref for role, ref in found.items() if ref is not None}


class Plan(Spec):
    """What an experiment is, beside the models that were measured for it.

    `paper` rows go below the measured ones. `limits` such as `zero_shot>=-2` let the best point that
    keeps them be chosen; None chooses none. `choose_on` is the share of pairs that choose, None all of
    them, or with `own_shards` those of shards of their own.
    """

    kind: Kind
    name: str
    encoders: Sequence[str] = ()
    paper: Sequence[Row] = ()
    left_out: Sequence[LeftOut] = ()
    limits: str | None = None
    choose_by: ChooseBy = "bound"
    choose_on: float | None = None  # share of the pairs that chose; None: all, or shards of their own
    own_shards: bool = False

    @property
    def asked(self) -> list[Limit]:
        """The limits; none where no point is chosen."""
        return parse_limits(self.limits or "")

    @property
    def asks_bounds(self) -> bool:
        """Whether the choice needs intervals of differences from the original."""
        return bool(self.asked) and self.choose_by == "bound"


def chosen_among(plan: Plan, models: Sequence[MeasuredModel], store: Store) -> int | None:
    """The position of the point that a sweep's plan chooses among measured models, the first of which is the original."""
    if plan.limits is None:
        return None
    return choose_point(_measured(plan, models, store), plan.asked, plan.choose_by)


@task(name="write-experiment", task_run_name="write-{plan.kind}")
def write_experiment(
    plan: Plan,
    models: Sequence[MeasuredModel],
    store: Store,
    context: RunContext,
    *,
    reported: ArtifactRef | None = None,
) -> Made:
    """Set models side by side, the original first; returns the `comparison`, `sweep` or `ablation` artifact.

    Args:
        plan: what the experiment is.
        models: in table order.
        store: holds what was measured of them.
        context: how the run is carried out.
        reported: differences of the chosen point from the original on pairs that did not choose.
    """
    inputs: Inputs = {f"{role}.{item.name}": ref for item in models for role, ref in item.artifacts.items()}
    if reported is not None:
        inputs["reported"] = reported
    recipe = Recipe(
        kind=plan.kind,
        settings={
            **plan.model_dump(mode="json", exclude={"kind"}),
            "rows": [
                {"name": item.name, "role": item.role, "axes": dict(item.axes), "settings": dict(item.settings)}
                for item in models
            ],
        },
        inputs=inputs,
        **coded(write_experiment),
    )

    def write(build: Build) -> None:
        experiment = _experiment(plan, models, store, reported)
        for suffix in KINDS[plan.kind].files:
            path = build.folder / experiment_file(plan.kind, suffix)
            if suffix == "parquet":
                pq.write_table(experiment_parquet(experiment), path)
            else:
                path.write_text(_TEXTS[suffix](experiment), encoding="utf-8")

    with stage(plan.kind, None, "models" if plan.kind == "comparison" else "points"):
        return store.materialise(recipe, write, context)


def _experiment(plan: Plan, models: Sequence[MeasuredModel], store: Store, reported: ArtifactRef | None) -> Experiment:
    experiment = _measured(plan, models, store)
    if plan.limits is None:
        return experiment
    update: dict[str, Any] = {
        "limits": [str(limit) for limit in plan.asked],
        "chosen": choose_point(experiment, plan.asked, plan.choose_by),
        "choice": _choice(plan, experiment, store, reported),
    }
    return experiment.model_copy(update=update)


def _choice(plan: Plan, experiment: Experiment, store: Store, reported: ArtifactRef | None) -> Choice:
    told: dict[str, Any] = {}
    if reported is not None:
        original = store.manifest(reported).recipe.inputs["first"]
        evaluation = store.path(original) if isinstance(original, ArtifactRef) else Path()
        told = {
            "n_reported": int(read_metrics(evaluation)["n_pairs"]),
            "reported": list(read_differences(store.path(reported)).values()),
            "chance": read_chance(evaluation),
        }
    return Choice(
        by=plan.choose_by,
        share=plan.choose_on,
        own_shards=plan.own_shards,
        keeping=len(keeping_points(experiment, plan.asked, plan.choose_by)),
        keeping_by_estimate=len(keeping_points(experiment, plan.asked)),
        **told,
    )


def _measured(plan: Plan, models: Sequence[MeasuredModel], store: Store) -> Experiment:
    limited = {limit.metric for limit in plan.asked} if plan.asks_bounds else set()
    rows = [_row(item, store, limited) for item in models]
    measured = [column for row in rows for column in row.values]
    first = store.path(models[0].evaluation)
    return Experiment(
        kind=plan.kind,
        name=plan.name,
        n_pairs=int(read_metrics(first)["n_pairs"]),
        columns=comparison_columns(measured) if plan.kind == "comparison" else ordered_metrics(rows[0].values),
        rows=[*rows, *plan.paper],
        encoders=[*plan.encoders],
        left_out=[*plan.left_out],
        chance=read_chance(first),
    )


def _row(item: MeasuredModel, store: Store, limited: Collection[str] = ()) -> Row:
    found = read_differences(store.path(item.differences)) if item.differences is not None else {}
    evaluation: Path = store.path(item.evaluation)
    return Row(
        name=item.name,
        role=item.role,
        axes=dict(item.axes),
        values=read_figures(evaluation),
        intervals=read_intervals(evaluation),
        lead=read_differences(store.path(item.lead)).get(HEADLINE) if item.lead is not None else None,
        p_values={} if limited else {metric: row.p for metric, row in found.items() if row.p is not None},
        differences={metric: (row.low, row.high) for metric, row in found.items() if metric in limited},
        n_selected=_n_selected(item.edit, store) if item.edit is not None else None,
        settings=dict(item.settings),
        versions={role: ref.version for role, ref in item.artifacts.items()},
    )


def _n_selected(edit: ArtifactRef, store: Store) -> int:
    layers = store.manifest(edit).counts["layers"]
    return sum(layer["n_selected"] for layer in layers.values())
