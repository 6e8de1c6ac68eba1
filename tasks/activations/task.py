"""Activation statistics as an artifact."""

from collections.abc import Sequence
from functools import partial

from data_specs.run_config import Encoder, RunConfig
from tasks.activations.capture import StatisticsObserver
from tasks.encoders.architecture import build_model
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.parts import PartMaker
from tasks.extraction.task import extract_set
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.store import Made, Store
from tasks.shards.plan import ShardPlan


def extract_activations(
    encoder: Encoder,
    layers: str,
    plans: Sequence[ShardPlan],
    loaded: LoadedModel,
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> Made:
    """Statistics of one encoder's target layers over the calibration set."""
    kind = f"activations.{encoder}"
    return extract_set(
        kind,
        encoder,
        plans,
        loaded,
        partial(StatisticsObserver, encoder=encoder, layers=layers),
        config,
        store,
        context,
        settings={"layers": list(target_layers(loaded.model, encoder, layers))},
        code=coded(PartMaker, StatisticsObserver, build_model),
        label=kind,
    )
