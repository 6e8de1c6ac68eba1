"""Activation statistics as an artifact."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from data_specs.run_config import Encoder, RunConfig
from tasks.activations.capture import StatisticsObserver
from tasks.activations.equal_parts import take_equal_parts
from tasks.embeddings.task import embeddings_of
from tasks.encoders.architecture import build_model
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.in_turn import ModelInTurn, make_parts_in_turn
from tasks.extraction.parts import RowPartMaker
from tasks.extraction.sets import Extraction, extract_set, part_of
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
        code=coded(RowPartMaker, StatisticsObserver, build_model),
        label=kind,
    )


def read_for_both(
    encoder: Encoder,
    layers: str,
    plans: Sequence[ShardPlan],
    loaded: LoadedModel,
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> None:
    """Make what statistics and embeddings of the same samples lack, decoding each sample once for both."""
    label = f"activations.{encoder} and embeddings"
    model = ModelInTurn(loaded, lambda: nullcontext(loaded))
    statistics = statistics_of(encoder, layers, loaded)
    _take_equal(statistics, plans, loaded, config, store, context)
    wanted = [(what, model) for what in (statistics, embeddings_of(encoder, loaded, label))]
    read_shards(partial(make_parts_in_turn, wanted, plans, config, store, context, label=label), label)


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
    _take_equal(what, plans, loaded, config, store, context)
    return read_shards(partial(extract_set, what, plans, loaded, config, store, context), what.label)


def _take_equal(
    what: Extraction,
    plans: Sequence[ShardPlan],
    loaded: LoadedModel,
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> None:
    if what.encoder == "vision":
        take_equal_parts([part_of(what, plan, loaded, config) for plan in plans], loaded, store, context)
