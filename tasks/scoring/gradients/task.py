"""Gradient scores of one encoder's layers as an artifact."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor

from data_specs.manifest import Recipe
from data_specs.run_config import Content, Encoder, EncoderConfig, RunConfig, ScorerName
from tasks.encoders.architecture import build_model
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.task import read_shards
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.store import Build, Made, Store
from tasks.scoring.gradients.calibration import EmbeddedCalibration, SummedGradients, SumsOf
from tasks.scoring.gradients.embedding_gradients import OwnGradients, gradients_of_safe
from tasks.scoring.gradients.parts import GradientPartMaker
from tasks.scoring.joined.sets import Joining
from tasks.scoring.layer_scores import write_layer_scores
from tasks.scoring.scorer import GradientScorer
from tasks.scoring.scorers.registry import REGISTRY, find_scorer, source_of


@dataclass(frozen=True)
class ScorerPartMaker(GradientPartMaker):
    """Sums of |dloss / dW| over batches, of a scorer's loss on the safe side's embeddings."""

    scorer: ScorerName

    @property
    def contents(self) -> Sequence[Content]:
        """The safe side."""
        return ("safe",)

    @property
    def own_gradients(self) -> OwnGradients:
        """Those of the scorer's loss."""
        return gradients_of_safe(find_scorer(self.scorer, GradientScorer).loss)


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
    scorer, label = find_scorer(chosen.scorer, GradientScorer), f"gradients.{encoder}.{chosen.scorer}"
    decisive: dict[str, JsonValue] = {
        "scorer": chosen.scorer,
        "layers": [*target_layers(loaded.model, encoder, chosen.layers)],
        "batch_pairs": chosen.batch_pairs,
        **pairs.settings(config),
    }
    recipe = Recipe(
        kind=f"layer_scores.{encoder}",
        settings={**decisive, "weight_by_magnitude": chosen.weight_by_magnitude},
        inputs=pairs.inputs(encoder, loaded),
        **coded(score_by_gradients, build_model, source_of(scorer), without=(REGISTRY,)),
    )
    summed = SummedGradients(
        recipe,
        pairs,
        ScorerPartMaker(**pairs.part_maker(encoder, chosen, loaded, config, label), scorer=chosen.scorer),
        chosen.batch_pairs,
        decisive,
        coded(ScorerPartMaker, Joining, build_model, source_of(scorer), without=(REGISTRY,)),
        "no pair with all four members is left to score; look at the tags and at the shards",
    )

    def write(build: Build, sums_of: SumsOf) -> None:
        def score(layer: str, _weight: Tensor) -> tuple[Tensor, dict[str, Any]]:
            sums = sums_of(layer)
            n_batches = -(-sums.n_pairs // chosen.batch_pairs)
            return sums.finished().to(context.device), {"n_pairs": sums.n_pairs, "n_batches": n_batches}

        write_layer_scores(
            build,
            loaded.target_weights(encoder, chosen.layers),
            score,
            encoder=encoder,
            weight_by_magnitude=chosen.weight_by_magnitude,
            device=torch.device(context.device),
        )

    return read_shards(partial(summed.made, write, loaded, store, context), label)
