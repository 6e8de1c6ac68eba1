"""Embeddings as artifacts."""

from collections.abc import Sequence

from data_specs.run_config import Encoder, RunConfig
from tasks.embeddings.observer import EmbeddingObserver
from tasks.encoders.loading import LoadedModel
from tasks.extraction.task import materialise_pass, pass_recipe
from tasks.lineage.circumstances import RunContext
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
    recipe = pass_recipe(f"embeddings.{encoder}", __package__ or "", loaded, encoder, plans, config, {})
    observer = EmbeddingObserver(int(loaded.architecture.model_cfg["embed_dim"]))
    return materialise_pass(
        store, recipe, loaded, encoder, plans, observer, label=label, config=config, context=context
    )
