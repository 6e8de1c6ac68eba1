"""Signed slopes of one encoder's layers as an artifact, and scores that are brought together with them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.manifest import ArtifactRef, Recipe
from data_specs.run_config import Encoder, EncoderConfig, Rule, RunConfig
from data_specs.schemas import slopes_schema
from data_specs.sign_filter import Sign
from tasks.encoders.architecture import build_model
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.shard_pass import input_stream
from tasks.extraction.task import read_shards
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.scoring.gradients.calibration import EmbeddedCalibration, common_pairs, gradients_summed
from tasks.scoring.gradients.embedding_gradients import PairGradient
from tasks.scoring.layer_scores import write_layers
from tasks.scoring.slopes.margins import TEMPERATURE, pair_slopes
from tasks.scoring.slopes.slope_pass import SlopeFold
from tasks.scoring.slopes.summary import write_signed_summary
from tasks.scoring.task import take_layers
from tasks.selection.scores_table import SLOPES_FILE, SUMMARY_FILE
from tasks.shards.plan import ShardPlan


def measure_slopes(
    encoder: Encoder,
    chosen: EncoderConfig,
    pairs: EmbeddedCalibration,
    loaded: LoadedModel,
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> Made:
    """dL / dW of one encoder's target layers over its calibration pairs; returns the `slopes` artifact.

    It depends on no scorer, rule or tau: made once, it serves all of them.
    """
    plans, label = pairs.plans[encoder], f"slopes.{encoder}"
    layers = target_layers(loaded.model, encoder, chosen.layers)
    device = torch.device(context.device)
    recipe = Recipe(
        kind=f"slopes.{encoder}",
        settings={"layers": [*layers], "temperature": TEMPERATURE, **pairs.settings(config)},
        inputs=pairs.inputs(encoder, loaded),
        **coded(measure_slopes, build_model),
    )

    def write(build: Build) -> None:
        gradients = _gradients(encoder, pairs, store, device)
        if next(gradients(), None) is None:
            raise DataError(
                f"{encoder}.sign: no calibration pair with all four members is left to take slopes over; look at the tags"
                " and at the shards"
            )
        fold = SlopeFold(loaded, encoder, layers, gradients, precision=config.precision, device=device)
        stream = input_stream(
            loaded, encoder, plans, batch_size=config.inputs_at_once, context=context, decoder=config.decoder
        )
        with gradients_summed(build, fold, stream, plans, label):
            _write_slopes(build, fold, encoder, [*layers])

    return read_shards(partial(store.materialise, recipe, write, context), label)


def _gradients(
    encoder: Encoder, pairs: EmbeddedCalibration, store: Store, device: torch.device
) -> Callable[[], Iterator[PairGradient]]:
    wanted = pairs.wanted()
    return lambda: pair_slopes(pairs.by_shard(store), encoder, wanted=wanted, device=device)


def require_common_pairs(plans: Mapping[Encoder, Sequence[ShardPlan]]) -> None:
    """Refuse calibration pairs of which none has all four members, before anything is computed.

    Raises:
        DataError: there is none among those that are planned.
    """
    if not common_pairs(plans):
        counts = " and ".join(f"{sum(len(plan.keys) for plan in plans[name])} for {name}" for name in plans)
        raise DataError(
            f"sign needs calibration pairs with all four members, safe and unsafe text, safe and unsafe image; there are"
            f" {counts}, but none for both; add the missing members, or set sign: none"
        )


def _write_slopes(build: Build, fold: SlopeFold, encoder: Encoder, layers: Sequence[str]) -> None:
    # Asked for by the first layer that is not yet written: a killed run may have lost the sums, but no layer.
    finished = cache(fold.finish)

    def slopes_of(layer: str) -> tuple[Tensor, dict[str, Any]]:
        slopes, counts = finished()
        return slopes[layer], {"n_pairs": counts["n_pairs"]}

    write_layers(build, encoder, layers, slopes_of, SLOPES_FILE, slopes_schema)


@task(name="summarise-signed-scores")
def summarise_signed_scores(
    layer_scores: Mapping[Encoder, ArtifactRef],
    slopes: Mapping[Encoder, ArtifactRef],
    signs: Mapping[Encoder, Sign],
    asked: Mapping[Encoder, Sequence[tuple[Rule, float]]],
    loaded: LoadedModel,
    store: Store,
    context: RunContext,
) -> Made:
    """Bring the encoders' scores together with slopes and a summary; returns the `scores` artifact.

    `slopes` and `signs` are of the encoders with a sign filter. The summary counts what the filter leaves selected.
    """
    recipe = Recipe(
        kind="scores",
        settings={
            "asked": {encoder: [list(pair) for pair in pairs] for encoder, pairs in asked.items()},
            "sign": {str(encoder): sign for encoder, sign in signs.items()},
        },
        inputs={
            **{f"layer_scores.{encoder}": ref for encoder, ref in layer_scores.items()},
            **{f"slopes.{encoder}": ref for encoder, ref in slopes.items()},
            "model": loaded.digest,
        },
        **coded(summarise_signed_scores),
    )

    def write(build: Build) -> None:
        n_pairs = take_layers(build, layer_scores.values(), store)
        take_layers(build, slopes.values(), store)
        state = loaded.model.state_dict()
        weights = {layer: state[f"{layer}.weight"].cpu().float().numpy() for layer in n_pairs}
        write_signed_summary(build.folder, n_pairs, asked, signs, weights, build.folder / SUMMARY_FILE)
        build.counts["layers"] = n_pairs

    with stage("scores.summary", None, "layers"):
        return store.materialise(recipe, write, context)
