"""Comparisons, sweeps and ablations as artifacts, from the evaluations of their models."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import JsonValue

from data_specs.ablation import Ablation, AblationPoint, AblationRow, LeftOut
from data_specs.comparison import COMPARISON_FILE, Comparison, ComparisonRow, Role, comparison_columns
from data_specs.evaluation_files import read_differences, read_figures, read_intervals, read_metrics
from data_specs.manifest import ArtifactRef, Inputs, Recipe
from data_specs.spec import Spec
from data_specs.sweep import SWEEP_FIGURE_FILE, SWEEP_FILE, Sweep, SweepPoint
from tasks.experiments.ablation_table import ablation_csv, ablation_markdown, ablation_parquet_table
from tasks.experiments.choice import choose_point, parse_limits
from tasks.experiments.comparison_table import comparison_csv, comparison_latex, comparison_markdown
from tasks.experiments.sweep_figure import sweep_figure
from tasks.experiments.sweep_table import sweep_csv, sweep_parquet_table
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store

ABLATION_FILE = "ablation.json"


@dataclass(frozen=True)
class MeasuredModel:
    """One model of an experiment and its artifacts; the original has no edit and no differences."""

    name: str
    role: Role
    evaluation: ArtifactRef
    edit: ArtifactRef | None = None
    differences: ArtifactRef | None = None
    settings: Mapping[str, JsonValue] = field(default_factory=dict)


@task(name="write-comparison", cache_policy=NO_CACHE)
def write_comparison(
    name: str, models: Sequence[MeasuredModel], paper: Sequence[ComparisonRow], store: Store, context: RunContext
) -> Made:
    """Set models side by side, the original first, the paper's rows last; returns the `comparison` artifact."""
    recipe = Recipe(
        kind="comparison",
        settings={
            "name": name,
            "rows": [{"name": item.name, "role": item.role, "settings": dict(item.settings)} for item in models],
            "paper": [row.model_dump(mode="json") for row in paper],
        },
        inputs=_inputs(models),
        **coded(write_comparison),
    )

    def write(build: Build) -> None:
        rows = [_row(item, store) for item in models]
        measured = [column for row in rows for column in row.values]
        comparison = Comparison(
            name=name,
            n_pairs=_n_pairs(models[0].evaluation, store),
            columns=comparison_columns(measured),
            rows=[*rows, *paper],
        )
        _write_json(build.folder / COMPARISON_FILE, comparison)
        _write_text(build.folder / "comparison.csv", comparison_csv(comparison))
        _write_text(build.folder / "comparison.md", comparison_markdown(comparison))
        _write_text(build.folder / "comparison.tex", comparison_latex(comparison))

    with stage("comparison", None, "models"):
        return store.materialise(recipe, write, context)


@task(name="write-sweep", cache_policy=NO_CACHE)
def write_sweep(
    name: str,
    encoders: Sequence[str],
    original: ArtifactRef,
    points: Sequence[tuple[float, float, ArtifactRef, ArtifactRef]],
    limits: str | None,
    store: Store,
    context: RunContext,
) -> Made:
    """Tabulate and draw points (tau, alpha, edit, evaluation); returns the `sweep` artifact.

    `limits` such as `zero_shot>=-2` lets the best point that keeps them be chosen; None chooses none.
    """
    models = [
        MeasuredModel(f"{tau!r},{alpha!r}", "method", evaluation, edit) for tau, alpha, edit, evaluation in points
    ]
    recipe = Recipe(
        kind="sweep",
        settings={
            "name": name,
            "encoders": [*encoders],
            "points": [[tau, alpha] for tau, alpha, _, _ in points],
            "limits": limits,
        },
        inputs=_inputs([MeasuredModel("original", "original", original), *models]),
        **coded(write_sweep),
    )

    def write(build: Build) -> None:
        sweep = Sweep(
            name=name,
            n_pairs=_n_pairs(original, store),
            encoders=[*encoders],
            original=read_figures(store.path(original)),
            points=[_point(*point, store) for point in points],
        )
        if limits is not None:
            asked = parse_limits(limits)
            update = {"limits": [str(limit) for limit in asked], "chosen": choose_point(sweep, asked)}
            sweep = sweep.model_copy(update=update)
        _write_json(build.folder / SWEEP_FILE, sweep)
        pq.write_table(sweep_parquet_table(sweep), build.folder / "sweep.parquet")
        _write_text(build.folder / "sweep.csv", sweep_csv(sweep))
        _write_text(build.folder / SWEEP_FIGURE_FILE, sweep_figure(sweep))

    with stage("sweep", None, "points"):
        return store.materialise(recipe, write, context)


@task(name="write-ablation", cache_policy=NO_CACHE)
def write_ablation(
    name: str,
    original: ArtifactRef,
    points: Sequence[tuple[AblationPoint, ArtifactRef, ArtifactRef]],
    left_out: Sequence[LeftOut],
    store: Store,
    context: RunContext,
) -> Made:
    """Tabulate points (settings, edit, evaluation) and what could not run; returns the `ablation` artifact."""
    models = [
        MeasuredModel(f"{number}", "method", evaluation, edit) for number, (_, edit, evaluation) in enumerate(points)
    ]
    recipe = Recipe(
        kind="ablation",
        settings={
            "name": name,
            "points": [point.model_dump(mode="json") for point, _, _ in points],
            "left_out": [item.model_dump(mode="json") for item in left_out],
        },
        inputs=_inputs([MeasuredModel("original", "original", original), *models]),
        **coded(write_ablation),
    )

    def write(build: Build) -> None:
        ablation = Ablation(
            name=name,
            n_pairs=_n_pairs(original, store),
            original=read_figures(store.path(original)),
            rows=[
                AblationRow(
                    point=point,
                    values=read_figures(store.path(evaluation)),
                    intervals=read_intervals(store.path(evaluation)),
                    n_selected=_n_selected(edit, store),
                    versions={"edit": edit.version, "evaluation": evaluation.version},
                )
                for point, edit, evaluation in points
            ],
            left_out=[*left_out],
        )
        _write_json(build.folder / ABLATION_FILE, ablation)
        pq.write_table(ablation_parquet_table(ablation), build.folder / "ablation.parquet")
        _write_text(build.folder / "ablation.csv", ablation_csv(ablation))
        _write_text(build.folder / "ablation.md", ablation_markdown(ablation))

    with stage("ablation", None, "points"):
        return store.materialise(recipe, write, context)


def read_comparison(artifact: Path) -> Comparison:
    """The content of a `comparison` artifact."""
    return Comparison.model_validate_json((artifact / COMPARISON_FILE).read_bytes())


def read_sweep(artifact: Path) -> Sweep:
    """The content of a `sweep` artifact."""
    return Sweep.model_validate_json((artifact / SWEEP_FILE).read_bytes())


def read_ablation(artifact: Path) -> Ablation:
    """The content of an `ablation` artifact."""
    return Ablation.model_validate_json((artifact / ABLATION_FILE).read_bytes())


def _inputs(models: Sequence[MeasuredModel]) -> Inputs:
    inputs: Inputs = {}
    for item in models:
        parts = {"evaluation": item.evaluation, "edit": item.edit, "differences": item.differences}
        inputs |= {f"{role}.{item.name}": ref for role, ref in parts.items() if ref is not None}
    return inputs


def _row(item: MeasuredModel, store: Store) -> ComparisonRow:
    versions = {"evaluation": item.evaluation.version}
    p_values: dict[str, float] = {}
    if item.edit is not None:
        versions["edit"] = item.edit.version
    if item.differences is not None:
        versions["differences"] = item.differences.version
        found = read_differences(store.path(item.differences))
        p_values = {metric: row.p for metric, row in found.items() if row.p is not None}
    return ComparisonRow(
        name=item.name,
        role=item.role,
        values=read_figures(store.path(item.evaluation)),
        intervals=read_intervals(store.path(item.evaluation)),
        p_values=p_values,
        settings=dict(item.settings),
        versions=versions,
    )


def _point(tau: float, alpha: float, edit: ArtifactRef, evaluation: ArtifactRef, store: Store) -> SweepPoint:
    return SweepPoint(
        tau=tau,
        alpha=alpha,
        values=read_figures(store.path(evaluation)),
        intervals=read_intervals(store.path(evaluation)),
        n_selected=_n_selected(edit, store),
        edit=edit.version,
        evaluation=evaluation.version,
    )


def _n_selected(edit: ArtifactRef, store: Store) -> int:
    layers = store.manifest(edit).counts["layers"]
    return sum(layer["n_selected"] for layer in layers.values())


def _n_pairs(evaluation: ArtifactRef, store: Store) -> int:
    return int(read_metrics(store.path(evaluation))["n_pairs"])


def _write_json(path: Path, content: Spec) -> None:
    _write_text(path, json.dumps(content.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")


def _write_text(path: Path, text: Any) -> None:
    path.write_text(text, encoding="utf-8")
