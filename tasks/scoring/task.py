"""Scores as artifacts: one of each encoder's layers, one of both with the summary of what was asked."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from data_specs.manifest import ArtifactRef, Recipe
from data_specs.run_config import Encoder, EncoderConfig, Rule
from tasks.encoders.loading import LoadedModel
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import source_digest
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.scoring.layer_scores import write_layer_scores
from tasks.scoring.summary import write_summary

SUMMARY = "layer_summary.parquet"


@task(name="score-layers", task_run_name="score-{encoder}", cache_policy=NO_CACHE)
def score_layers(
    encoder: Encoder,
    config: EncoderConfig,
    tags: list[str] | None,
    activations: ArtifactRef,
    loaded: LoadedModel,
    store: Store,
    context: RunContext,
) -> Made:
    """Score every weight of one encoder's target layers; returns the `layer_scores` artifact."""
    weights = loaded.target_weights(encoder, config.layers)
    recipe = Recipe(
        kind=f"layer_scores.{encoder}",
        settings={
            "layers": [*weights],
            "aggregation": config.aggregation,
            "weight_by_magnitude": config.weight_by_magnitude,
            "tags": None if tags is None else [*sorted(tags)],
        },
        inputs={"activations": activations, "encoder": loaded.encoder_digest(encoder)},
        code=source_digest(__package__ or ""),
    )
    label = f"scores.{encoder}"

    def write(build: Build) -> None:
        with stage(label, len(weights), "layers"):
            write_layer_scores(
                build,
                store.path(activations),
                weights,
                encoder=encoder,
                aggregation=config.aggregation,
                weight_by_magnitude=config.weight_by_magnitude,
                tags=tags,
                device=torch.device(context.device),
                stage=label,
            )

    return store.materialise(recipe, write, context)


@task(name="summarise-scores", cache_policy=NO_CACHE)
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
        code=source_digest(__package__ or ""),
    )

    def write(build: Build) -> None:
        n_pairs: dict[str, int] = {}
        for ref in layer_scores.values():
            layers = store.manifest(ref).counts["layers"]
            n_pairs |= {layer: counts["n_pairs"] for layer, counts in layers.items()}
            for file in store.path(ref).glob("encoder=*/layer=*/scores.parquet"):
                _link(file, build.folder / file.relative_to(store.path(ref)))
        write_summary(build.folder, n_pairs, asked, build.folder / SUMMARY)
        build.counts["layers"] = n_pairs

    with stage("scores.summary", None, "layers"):
        return store.materialise(recipe, write, context)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
