"""Gradient scores of one encoder's layers as an artifact."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from data_specs.manifest import Recipe
from data_specs.run_config import Encoder, EncoderConfig, RunConfig
from tasks.encoders.architecture import build_model
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.shard_pass import input_stream
from tasks.extraction.task import read_shards
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.store import Build, Made, Store
from tasks.scoring.gradients.calibration import EmbeddedCalibration, gradients_summed
from tasks.scoring.gradients.embedding_gradients import PairGradient, pair_gradients
from tasks.scoring.gradients.gradient_pass import GradientFold
from tasks.scoring.layer_scores import write_layer_scores
from tasks.scoring.scorer import GradientScorer
from tasks.scoring.scorers.registry import REGISTRY, find_scorer, source_of


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
    plans = pairs.plans[encoder]
    scorer = find_scorer(chosen.scorer, GradientScorer)
    layers = target_layers(loaded.model, encoder, chosen.layers)
    label = f"gradients.{encoder}.{chosen.scorer}"
    device = torch.device(context.device)
    recipe = Recipe(
        kind=f"layer_scores.{encoder}",
        settings={
            "scorer": chosen.scorer,
            "layers": [*layers],
            "batch_pairs": chosen.batch_pairs,
            "weight_by_magnitude": chosen.weight_by_magnitude,
            **pairs.settings(config),
        },
        inputs=pairs.inputs(encoder, loaded),
        **coded(score_by_gradients, build_model, source_of(scorer), without=(REGISTRY,)),
    )

    def write(build: Build) -> None:
        gradients = _gradients(encoder, chosen, pairs, store, device)
        fold = GradientFold(loaded, encoder, layers, gradients, precision=config.precision, device=device)
        stream = input_stream(
            loaded,
            encoder,
            plans,
            batch_size=config.inputs_at_once,
            context=context,
            side="safe",
            decoder=config.decoder,
        )
        with gradients_summed(build, fold, stream, plans, label):
            _write_scores(build, fold, encoder, chosen, loaded, device)

    return read_shards(partial(store.materialise, recipe, write, context), label)


def _gradients(
    encoder: Encoder, chosen: EncoderConfig, pairs: EmbeddedCalibration, store: Store, device: torch.device
) -> Callable[[], Iterator[PairGradient]]:
    loss, wanted = find_scorer(chosen.scorer, GradientScorer).loss, pairs.wanted()
    return lambda: pair_gradients(
        pairs.by_shard(store), encoder, loss, batch_pairs=chosen.batch_pairs, wanted=wanted, device=device
    )


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
