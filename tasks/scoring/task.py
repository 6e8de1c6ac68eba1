"""Scores as artifacts: one of each encoder's layers, one of both with the summary of what was asked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor

from data_specs.manifest import ArtifactRef, Recipe
from data_specs.run_config import Encoder, EncoderConfig, Rule
from data_specs.schemas import layer_folder
from tasks.encoders.loading import LoadedModel
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.scoring.aggregate import LayerStatistics, first_rows
from tasks.scoring.layer_scores import LayerScorer, aggregate_layer, write_layer_scores
from tasks.scoring.scorer import ActivationScorer, WeightScorer
from tasks.scoring.scorers.registry import REGISTRY, find_scorer, source_of
from tasks.scoring.summary import write_summary
from tasks.selection.scores_table import SUMMARY_FILE
from tasks.shards.plan import ShardPlan


@dataclass(frozen=True)
class CalibrationRows:
    """Which rows of an `activations` artifact are scored."""

    activations: ArtifactRef
    tags: Sequence[str] | None  # of these tags only
    first: Sequence[ShardPlan] | None = None  # the planned samples only, where the artifact holds more


@task(name="score-by-activations", task_run_name="score-{encoder}")
def score_by_activations(
    encoder: Encoder,
    chosen: EncoderConfig,
    rows: CalibrationRows,
    loaded: LoadedModel,
    store: Store,
    context: RunContext,
) -> Made:
    """Score one encoder's target layers from statistics; returns the `layer_scores` artifact."""
    scorer = find_scorer(chosen.scorer, ActivationScorer)
    weights = loaded.target_weights(encoder, chosen.layers)
    settings: dict[str, JsonValue] = {
        **{name: getattr(chosen, name) for name in scorer.settings},
        "tags": None if rows.tags is None else [*sorted(rows.tags)],
        "samples": None if rows.first is None else [len(plan.keys) for plan in rows.first],
    }
    code = coded(score_by_activations, source_of(scorer), without=(REGISTRY,))
    recipe = layer_scores_recipe(encoder, chosen, loaded, settings, {"activations": rows.activations}, code)

    def write(build: Build) -> None:
        n_rows = None if rows.first is None else first_rows(store.manifest(rows.activations), rows.first)

        def score(layer: str, weight: Tensor) -> tuple[Tensor, dict[str, Any]]:
            folder = store.path(rows.activations) / layer_folder(encoder, layer)
            return aggregate_layer(LayerStatistics(folder, rows.tags, n_rows), scorer.start(weight, chosen))

        write_scored(build, encoder, chosen, weights, score, context)

    return store.materialise(recipe, write, context)


@task(name="score-by-weights", task_run_name="score-{encoder}")
def score_by_weights(
    encoder: Encoder,
    chosen: EncoderConfig,
    loaded: LoadedModel,
    seed: int,
    store: Store,
    context: RunContext,
) -> Made:
    """Score one encoder's target layers without data; returns the `layer_scores` artifact."""
    scorer = find_scorer(chosen.scorer, WeightScorer)
    weights = loaded.target_weights(encoder, chosen.layers)
    code = coded(score_by_weights, source_of(scorer), without=(REGISTRY,))
    recipe = layer_scores_recipe(encoder, chosen, loaded, {"seed": seed if scorer.seeded else None}, {}, code)

    def score(layer: str, weight: Tensor) -> tuple[Tensor, dict[str, Any]]:
        return scorer.scores(weight, layer, seed), {"n_pairs": 0}

    return store.materialise(
        recipe, lambda build: write_scored(build, encoder, chosen, weights, score, context), context
    )


def layer_scores_recipe(
    encoder: Encoder,
    chosen: EncoderConfig,
    loaded: LoadedModel,
    settings: Mapping[str, JsonValue],
    inputs: Mapping[str, ArtifactRef],
    code: Mapping[str, Any],
) -> Recipe:
    """The recipe of scores of one encoder's layers, of whatever they are made."""
    return Recipe(
        kind=f"layer_scores.{encoder}",
        settings={
            "scorer": chosen.scorer,
            "layers": [*loaded.target_weights(encoder, chosen.layers)],
            "weight_by_magnitude": chosen.weight_by_magnitude,
            **settings,
        },
        inputs={"encoder": loaded.encoder_digest(encoder), **inputs},
        **code,
    )


def write_scored(
    build: Build,
    encoder: Encoder,
    chosen: EncoderConfig,
    weights: dict[str, Tensor],
    score: LayerScorer,
    context: RunContext,
) -> None:
    """Score one encoder's layers as settings say; see `write_layer_scores`."""
    write_layer_scores(
        build,
        weights,
        score,
        encoder=encoder,
        weight_by_magnitude=chosen.weight_by_magnitude,
        device=torch.device(context.device),
    )


@task(name="summarise-scores")
def summarise_scores(
    layer_scores: Mapping[Encoder, ArtifactRef],
    asked: Mapping[Encoder, Sequence[tuple[Rule, float]]],
    store: Store,
    context: RunContext,
) -> Made:
    """Bring the encoders' scores together with a summary; returns the `scores` artifact.

    The score files are hard links where the file system has them, so tau can change without
    anything large being written again.
    """
    recipe = Recipe(
        kind="scores",
        settings={"asked": {encoder: [list(pair) for pair in pairs] for encoder, pairs in asked.items()}},
        inputs={f"layer_scores.{encoder}": ref for encoder, ref in layer_scores.items()},
        **coded(summarise_scores),
    )

    def write(build: Build) -> None:
        n_pairs = take_layers(build, layer_scores.values(), store)
        write_summary(build.folder, n_pairs, asked, build.folder / SUMMARY_FILE)
        build.counts["layers"] = n_pairs

    with stage("scores.summary", None, "layers"):
        return store.materialise(recipe, write, context)


def take_layers(build: Build, artifacts: Iterable[ArtifactRef], store: Store) -> dict[str, int]:
    """Take over the files of `layer_scores` or `slopes` artifacts; returns the pairs behind each layer, in the layers' order.

    Raises:
        ArtifactError: an artifact is not as its manifest says.
    """
    n_pairs: dict[str, int] = {}
    for ref in artifacts:
        manifest = store.ensure(ref)
        n_pairs |= {layer: counts["n_pairs"] for layer, counts in manifest.counts["layers"].items()}
        for entry in manifest.files:
            build.take(store.path(ref), entry, entry.path)
    return n_pairs
