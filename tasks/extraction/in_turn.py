"""Parts of several models over the same shards, each sample being decoded once for all of them."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import compress

from data_specs.run_config import RunConfig
from tasks.encoders.loading import LoadedModel
from tasks.extraction.sets import Extraction, part_maker, part_of
from tasks.extraction.shard_pass import input_stream
from tasks.extraction.shared_reading import SharedReading
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import stage
from tasks.lineage.store import Store
from tasks.shards.copies import Copies
from tasks.shards.plan import ShardPlan, planned_samples


@dataclass(frozen=True)
class ModelInTurn:
    """One of several models that share the memory of one: its digests, and its weights for as long as they are in place."""

    loaded: LoadedModel
    in_place: Callable[[], AbstractContextManager[LoadedModel]]


def make_parts_in_turn(
    what: Extraction,
    plans: Sequence[ShardPlan],
    models: Sequence[ModelInTurn],
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> None:
    """Make the parts that several models lack; what is there stays, so that a run that was killed goes on where it was.

    Args:
        what: is kept of each batch.
        plans: the samples of each shard.
        models: of one architecture and preprocessing.
        config: the run's settings.
        store: takes the parts.
        context: how the run is carried out.

    Raises:
        DataError: a shard has too many bad samples.
    """
    parts = [[part_of(what, plan, model.loaded, config) for plan in plans] for model in models]
    lacking = [[not store.holds(part.ref) for part in own] for own in parts]
    wanted = [index for index in range(len(plans)) if any(own[index] for own in lacking)]
    if not wanted:
        return
    read = [plans[index] for index in wanted]
    stream = input_stream(
        models[0].loaded, what.encoder, read, batch_size=config.batch_size, context=context, decoder=config.decoder
    )
    copies = Copies(store.temporary_folder(f"{Copies.name(os.getpid())}-{what.label}"))
    copies.hold()
    shared = SharedReading(stream, read, copies.folder)
    total = sum(planned_samples(list(compress(plans, own))) for own in lacking)
    maker = part_maker(what, plans, models[0].loaded, config)
    try:
        with stage(what.label, total, "samples"):
            for window in shared.windows():
                for model, own, lacks in zip(models, parts, lacking, strict=True):
                    todo = [wanted[index] for index in window if lacks[wanted[index]]]
                    if todo:
                        with model.in_place() as loaded:
                            chosen = [plans[index] for index in todo]
                            made = maker.make([own[index] for index in todo], chosen, loaded, store, context, shared)
                            deque(made, maxlen=0)
    finally:
        copies.close()
