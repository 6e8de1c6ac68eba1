"""Embeddings as artifacts."""

from collections.abc import Sequence
from functools import partial

from data_specs.run_config import Encoder, RunConfig
from tasks.embeddings.observer import embedding_observer
from tasks.encoders.architecture import build_model
from tasks.encoders.loading import LoadedModel
from tasks.extraction.in_turn import ModelInTurn, make_parts_in_turn
from tasks.extraction.parts import RowPartMaker
from tasks.extraction.sets import Extraction, extract_set
from tasks.extraction.task import read_shards
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.store import Made, Store
from tasks.shards.plan import ShardPlan


def embed_shards(
    encoder: Encoder,
    plans: Sequence[ShardPlan],
    loaded: LoadedModel,
    config: RunConfig,
    store: Store,
    context: RunContext,
    *,
    label: str,
) -> Made:
    """Embed all that one encoder reads; an edit of the other encoder finds the same artifact again."""
    what = embeddings_of(encoder, loaded, label)
    return read_shards(partial(extract_set, what, plans, loaded, config, store, context), label)


def embed_in_turn(
    encoder: Encoder,
    plans: Sequence[ShardPlan],
    models: Sequence[ModelInTurn],
    config: RunConfig,
    store: Store,
    context: RunContext,
    *,
    label: str,
) -> None:
    """Make what `embed_shards` would lack of each of several models, decoding each sample once for all of them."""
    what = embeddings_of(encoder, models[0].loaded, label)
    wanted = [(what, model) for model in models]
    read_shards(partial(make_parts_in_turn, wanted, plans, config, store, context, label=label), label)


def embeddings_of(encoder: Encoder, loaded: LoadedModel, label: str) -> Extraction:
    """What is taken for embeddings."""
    width = int(loaded.architecture.model_cfg["embed_dim"])
    return Extraction(
        f"embeddings.{encoder}",
        encoder,
        partial(embedding_observer, width=width),
        settings={},
        code=coded(RowPartMaker, embedding_observer, build_model),
        label=label,
    )
