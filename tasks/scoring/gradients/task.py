"""Gradient scores of one encoder's layers as an artifact."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from data_specs.manifest import ArtifactRef, Recipe, Source
from data_specs.run_config import Encoder, EncoderConfig, RunConfig
from data_specs.schemas import pair_id
from tasks.embeddings.pairs import pairs_by_shard
from tasks.encoders.architecture import build_model
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.shard_pass import ShardPass, input_stream
from tasks.extraction.task import read_shards
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.scoring.gradients.embedding_gradients import PairGradient, pair_gradients
from tasks.scoring.gradients.gradient_pass import GradientFold, sum_gradients, sums_file
from tasks.scoring.layer_scores import write_layer_scores
from tasks.scoring.scorer import BatchMembers, GradientScorer
from tasks.scoring.scorers.registry import REGISTRY, find_scorer, source_of
from tasks.shards.plan import ShardPlan

Loss = Callable[[BatchMembers], Tensor]


@dataclass(frozen=True)
class EmbeddedCalibration:
    """The calibration pairs: those of the tags that are in the plans of both encoders."""

    embeddings: Mapping[Encoder, ArtifactRef]  # of the same set, or of a larger one that begins with it
    plans: Mapping[Encoder, Sequence[ShardPlan]]
    tags: Sequence[str] | None


def score_by_gradients(
    encoder: Encoder,
    chosen: EncoderConfig,
    pairs: EmbeddedCalibration,
    loaded: LoadedModel,
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> Made:
    """Score one encoder's target layers by a loss over its calibration pairs; returns the `layer_scores` artifact."""
    own = pairs.plans[encoder]
    scorer = find_scorer(chosen.scorer, GradientScorer)
    layers = target_layers(loaded.model, encoder, chosen.layers)
    code = coded(score_by_gradients, build_model, source_of(scorer), without=(REGISTRY,))
    recipe = _recipe(encoder, chosen, pairs, loaded, config, code)
    label = f"gradients.{encoder}.{chosen.scorer}"
    device = torch.device(context.device)

    def write(build: Build) -> None:
        gradients = _gradients(encoder, scorer.loss, chosen.batch_pairs, pairs, store, device)
        fold = GradientFold(loaded, encoder, layers, gradients, precision=config.precision, device=device)
        stream = input_stream(loaded, encoder, own, batch_size=config.batch_size, context=context, side="safe")
        # Bad samples were counted when the same shards were embedded.
        shard_pass = ShardPass(stream, own, fold, stage=label, max_bad_fraction=1.0)
        with stage(label, sum(len(plan.keys) for plan in own), "samples"):
            sum_gradients(build, fold, shard_pass, own, label)
        _write_scores(build, fold, encoder, chosen, loaded, device)
        # Every score is written, so the sums go; also older ones that a killed process left.
        for plan in own:
            (build.folder / sums_file(plan)).unlink(missing_ok=True)
        build.sources.extend(
            Source(location=plan.shard.location, sha256=plan.shard.sha256, size_bytes=plan.shard.size_bytes)
            for plan in own
        )

    return read_shards(partial(store.materialise, recipe, write, context), label)


def _recipe(
    encoder: Encoder,
    chosen: EncoderConfig,
    pairs: EmbeddedCalibration,
    loaded: LoadedModel,
    config: RunConfig,
    code: Mapping[str, Any],
) -> Recipe:
    tags = pairs.tags
    return Recipe(
        kind=f"layer_scores.{encoder}",
        settings={
            "scorer": chosen.scorer,
            "layers": [*loaded.target_weights(encoder, chosen.layers)],
            "batch_pairs": chosen.batch_pairs,
            "weight_by_magnitude": chosen.weight_by_magnitude,
            "tags": None if tags is None else [*sorted(tags)],
            "precision": config.precision,
            "batch_size": config.batch_size,
            # An encoder's plan may hold samples that the other cannot read, in place of which it takes later ones.
            "samples": {
                name: {plan.shard.sha256: len(plan.keys) for plan in plans} for name, plans in pairs.plans.items()
            },
        },
        inputs={
            **{f"embeddings.{name}": ref for name, ref in pairs.embeddings.items()},
            "encoder": loaded.encoder_digest(encoder),
            "shards": [plan.shard.sha256 for plan in pairs.plans[encoder]],
        },
        **code,
    )


def _gradients(
    encoder: Encoder,
    loss: Loss,
    batch_pairs: int,
    pairs: EmbeddedCalibration,
    store: Store,
    device: torch.device,
) -> Callable[[], Iterator[PairGradient]]:
    planned = frozenset.intersection(*(_pairs(plans) for plans in pairs.plans.values()))
    embeddings, tags = pairs.embeddings, pairs.tags

    def start() -> Iterator[PairGradient]:
        return pair_gradients(
            pairs_by_shard(store.path(embeddings["text"]), store.path(embeddings["vision"])),
            encoder,
            loss,
            batch_pairs=batch_pairs,
            wanted=lambda name, tag: name in planned and (tags is None or tag in tags),
            device=device,
        )

    return start


def _pairs(plans: Sequence[ShardPlan]) -> frozenset[str]:
    return frozenset(pair_id(plan.shard.sha256, key) for plan in plans for key in plan.keys)


def _write_scores(
    build: Build,
    fold: GradientFold,
    encoder: Encoder,
    chosen: EncoderConfig,
    loaded: LoadedModel,
    device: torch.device,
) -> None:
    # Asked for by the first layer that is not yet written: a killed run may have lost the sums, but no layer.
    finished = cache(fold.finish)

    def score(layer: str, _weight: Tensor) -> tuple[Tensor, dict[str, Any]]:
        scores, counts = finished()
        return scores[layer], dict(counts)

    write_layer_scores(
        build,
        loaded.target_weights(encoder, chosen.layers),
        score,
        encoder=encoder,
        weight_by_magnitude=chosen.weight_by_magnitude,
        device=device,
    )
