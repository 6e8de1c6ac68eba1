"""Parts of several models over the same shards, each sample being decoded once for all of them."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import compress

from data_specs.run_config import RunConfig
from tasks.encoders.loading import LoadedModel, ModelRef
from tasks.extraction.parts import Part, PartMaker
from tasks.extraction.sets import Extraction, part_maker, part_of
from tasks.extraction.shard_pass import input_stream
from tasks.extraction.shared_reading import SharedReading
from tasks.extraction.shared_work import runner_of
from tasks.extraction.sharing import PassingStore, without_samples
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import stage
from tasks.lineage.store import Store
from tasks.shards.copies import Copies
from tasks.shards.plan import ShardPlan, planned_samples

InPlace = Callable[[], AbstractContextManager[LoadedModel]]


@dataclass(frozen=True)
class ModelInTurn:
    """One of several models that share the memory of one: its digests, and its weights for as long as they are in place."""

    loaded: LoadedModel
    in_place: InPlace


def make_parts_in_turn(
    what: Extraction,
    plans: Sequence[ShardPlan],
    models: Sequence[ModelInTurn],
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> None:
    """Make the parts that several models lack; what is there stays, so that a run that was killed goes on where it was.

    What only one of them lacks is left to its own pass, which decodes no more often.

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
    if sum(map(any, lacking)) > 1:
        total = sum(planned_samples(list(compress(plans, own))) for own in lacking)
        maker = part_maker(what, plans, models[0].loaded, config)
        files = [model.loaded.files for model in models]
        turns = PartsInTurn(maker, parts, plans, files, [model.in_place for model in models])
        with stage(what.label, total, "samples"):
            runner_of(context).make(turns, models[0].loaded, store, context)


@dataclass(frozen=True)
class PartsInTurn:
    """Parts of several models over the same shards; what another process is at is left to it, or to who needs it first."""

    maker: PartMaker
    parts: Sequence[Sequence[Part]]  # a row a model
    plans: Sequence[ShardPlan]
    files: Sequence[ModelRef]
    in_place: Sequence[InPlace]

    def help(self, store: Store, context: RunContext) -> None:
        """As `make`, in a process that opens the models by their files."""
        with self.files[0].opened() as loaded:
            pass
        # Of this one, only how it decodes is needed: an edit is applied to the original, and not to another edit.
        self.make(loaded, store, context)

    def sendable(self) -> "PartsInTurn":
        """The same for another process."""
        return replace(self, plans=without_samples(self.plans), in_place=[each.opened for each in self.files])

    def make(
        self, loaded: LoadedModel, store: Store, context: RunContext, interrupted: Callable[[], None] = lambda: None
    ) -> None:
        """Make what is lacking and in nobody's hands; `loaded` says how samples are decoded.

        Raises:
            DataError: a shard has too many bad samples.
        """
        wanted = [
            index for index in range(len(self.plans)) if not all(store.holds(own[index].ref) for own in self.parts)
        ]
        read = [self.plans[index] for index in wanted]
        encoder, size = self.maker.encoder, self.maker.batch_size
        stream = input_stream(loaded, encoder, read, batch_size=size, context=context, decoder=self.maker.decoder)
        copies = Copies(store.temporary_folder(f"{Copies.name(os.getpid())}-{self.maker.stage}"))
        copies.hold()
        shared = SharedReading(stream, read, copies.folder)
        try:
            for window in shared.windows():
                interrupted()
                self._make_window([wanted[index] for index in window], shared, store, context)
        finally:
            copies.close()

    def _make_window(self, window: Sequence[int], shared: SharedReading, store: Store, context: RunContext) -> None:
        if any(store.leases.is_taken(own[index].ref) for own in self.parts for index in window):
            return
        for in_place, own in zip(self.in_place, self.parts, strict=True):
            todo = [index for index in window if not store.holds(own[index].ref)]
            if todo:
                passing, plans = PassingStore(store), [self.plans[index] for index in todo]
                with in_place() as loaded:
                    made = self.maker.make([own[index] for index in todo], plans, loaded, passing, context, shared)
                    deque(made, maxlen=0)
                if passing.has_met:
                    return
