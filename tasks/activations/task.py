"""Activation statistics as an artifact."""

from collections.abc import Sequence
from functools import partial

from data_specs.run_config import Encoder, RunConfig
from tasks.activations.capture import StatisticsObserver
from tasks.encoders.architecture import build_model
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.parts import PartMaker
from tasks.extraction.sets import Extraction, extract_set
from tasks.extraction.task import read_shards
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.store import Made, Store
from tasks.shards.plan import ShardPlan


def statistics_of(encoder: Encoder, layers: str, loaded: LoadedModel) -> Extraction:
    """What is taken for activation statistics."""
    kind = f"activations.{encoder}"
    return Extraction(
        kind,
        encoder,
        partial(StatisticsObserver, encoder=encoder, layers=layers),
        settings={"layers": list(target_layers(loaded.model, encoder, layers))},
        code=coded(PartMaker, StatisticsObserver, build_model),
        label=kind,
    )


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
    what = statistics_of(encoder, layers, loaded)
    return read_shards(partial(extract_set, what, plans, loaded, config, store, context), what.label)
