"""Activation statistics as an artifact."""

from collections.abc import Sequence

from data_specs.run_config import Encoder, RunConfig
from tasks.activations.capture import StatisticsObserver
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.task import materialise_pass, pass_recipe
from tasks.lineage.circumstances import RunContext
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
    names = list(target_layers(loaded.model, encoder, layers))
    recipe = pass_recipe(f"activations.{encoder}", __package__ or "", loaded, encoder, plans, config, {"layers": names})
    observer = StatisticsObserver(loaded.model, encoder, layers)
    return materialise_pass(
        store, recipe, loaded, encoder, plans, observer, label=f"activations.{encoder}", config=config, context=context
    )
