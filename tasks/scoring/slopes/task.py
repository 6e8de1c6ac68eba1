"""Signed slopes of one encoder's layers as an artifact, and scores that are brought together with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import JsonValue
from torch import Tensor

from data_specs.errors import DataError
from data_specs.manifest import ArtifactRef, Recipe
from data_specs.run_config import CONTENTS, Content, Encoder, EncoderConfig, Rule, RunConfig
from data_specs.schemas import slopes_schema
from data_specs.sign_filter import Sign
from tasks.encoders.architecture import build_model
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.task import read_shards
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.scoring.gradients.calibration import EmbeddedCalibration, SummedGradients, SumsOf, common_pairs
from tasks.scoring.gradients.embedding_gradients import OwnGradients
from tasks.scoring.gradients.parts import GradientPartMaker
from tasks.scoring.joined.sets import Joining
from tasks.scoring.layer_scores import write_layers
from tasks.scoring.slopes.margins import TEMPERATURE, slopes_of_both
from tasks.scoring.slopes.summary import write_signed_summary
from tasks.scoring.task import take_layers
from tasks.selection.scores_table import SLOPES_FILE, SUMMARY_FILE
from tasks.shards.plan import ShardPlan


@dataclass(frozen=True)
class SlopePartMaker(GradientPartMaker):
    """Sums of dL / dW over pairs, sign and all; of each pair both members go through the encoder."""

    @property
    def contents(self) -> Sequence[Content]:
        """Both sides."""
        return CONTENTS

    @property
    def own_gradients(self) -> OwnGradients:
        """Those of the margins."""
        return slopes_of_both


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
    label = f"slopes.{encoder}"
    layers = target_layers(loaded.model, encoder, chosen.layers)
    decisive: dict[str, JsonValue] = {"layers": [*layers], "temperature": TEMPERATURE, **pairs.settings(config)}
    recipe = Recipe(
        kind=f"slopes.{encoder}",
        settings=decisive,
        inputs=pairs.inputs(encoder, loaded),
        **coded(measure_slopes, build_model),
    )
    summed = SummedGradients(
        recipe,
        pairs,
        SlopePartMaker(**pairs.part_maker(encoder, chosen, loaded, config, label)),
        None,
        decisive,
        coded(SlopePartMaker, Joining, build_model),
        f"{encoder}.sign: no calibration pair with all four members is left to take slopes over; look at the tags"
        " and at the shards",
    )

    def write(build: Build, sums_of: SumsOf) -> None:
        def slopes_of(layer: str) -> tuple[Tensor, dict[str, Any]]:
            sums = sums_of(layer)
            return sums.finished(), {"n_pairs": sums.n_pairs}

        write_layers(build, encoder, layers, slopes_of, SLOPES_FILE, slopes_schema)

    return read_shards(partial(summed.made, write, loaded, store, context), label)


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
