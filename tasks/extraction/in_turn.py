"""Parts of several models, or of several sets, over the same shards, each sample being decoded once for all of them."""

import operator
import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import compress

from data_specs.manifest import ArtifactRef
from data_specs.run_config import RunConfig
from tasks.encoders.loading import LoadedModel
from tasks.extraction.parts import Part, PartMaker
from tasks.extraction.sets import Extraction, part_maker, part_of
from tasks.extraction.shard_pass import input_stream
from tasks.extraction.shared_reading import SharedReading
from tasks.extraction.sharing import PassingStore, without_samples
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import advance, stage
from tasks.lineage.store import Store
from tasks.shards.copies import Copies
from tasks.shards.plan import ShardPlan, planned_samples
from tasks.workers.shared_work import require_here, runner_of

InPlace = Callable[[], AbstractContextManager[LoadedModel]]


@dataclass(frozen=True)
class ModelInTurn:
    """One of several models that share the memory of one: its digests, and its weights for as long as they are in place."""

    loaded: LoadedModel
    in_place: InPlace


def make_parts_in_turn(
    wanted: Sequence[tuple[Extraction, ModelInTurn]],
    plans: Sequence[ShardPlan],
    config: RunConfig,
    store: Store,
    context: RunContext,
    *,
    label: str,
) -> None:
    """Make the parts that several sets lack; what is there stays, so that a run that was killed goes on where it was.

    What only one of them lacks is left to its own pass, which decodes no more often.

    Args:
        wanted: what is kept of each batch, and of which model; of one encoder, architecture and preprocessing.
        plans: the samples of each shard.
        config: the run's settings.
        store: takes the parts.
        context: how the run is carried out.
        label: of the progress.

    Raises:
        DataError: a shard has too many bad samples.
    """
    parts = [[part_of(what, plan, model.loaded, config) for plan in plans] for what, model in wanted]
    store.elsewhere.ask(part.ref for own in parts for part in own)
    lacking = [[not store.holds(part.ref) for part in own] for own in parts]
    counted_on = frozenset(
        part.ref
        for own, of_own in zip(parts, lacking, strict=True)
        for part in compress(own, map(operator.not_, of_own))
        if not store.is_here(part.ref)
    )
    if sum(map(any, lacking)) > 1:
        total = sum(planned_samples(list(compress(plans, own))) for own in lacking)
        makers = [part_maker(replace(what, label=label), plans, model.loaded, config) for what, model in wanted]
        turns = PartsInTurn(makers, parts, plans, [model.in_place for _, model in wanted], counted_on)
        with stage(label, total, "samples"):
            runner_of(context).make(turns, wanted[0][1].loaded, store, context)


@dataclass(frozen=True)
class PartsInTurn:
    """Parts of several sets over the same shards; what another process is at is left to it, or to who needs it first."""

    makers: Sequence[PartMaker]  # of each set
    parts: Sequence[Sequence[Part]]  # a row a set
    plans: Sequence[ShardPlan]
    in_place: Sequence[InPlace]  # the model of each set
    counted_on: frozenset[ArtifactRef]  # parts that the run needs no files of: they were dropped, or are in a remote

    def help(self, store: Store, context: RunContext) -> None:
        """As `make`, in a process that opens the models by their files."""
        with self.makers[0].model.opened() as loaded:
            pass
        # Of this one, only how it decodes is needed: an edit is applied to the original, and not to another edit.
        self.make(loaded, store, context)

    def sendable(self) -> "PartsInTurn":
        """The same for another process."""
        return replace(self, plans=without_samples(self.plans), in_place=[maker.model.opened for maker in self.makers])

    def shares(self, loaded: LoadedModel, store: Store, context: RunContext) -> "LackingTurns":
        """A shard each, for all sets."""
        del loaded, context
        return LackingTurns(self.sendable(), store)

    def do(self, store: Store, context: RunContext) -> None:
        """As `help`."""
        self.help(store, context)

    def of_shard(self, index: int) -> "PartsInTurn":
        """The same for one shard alone."""
        return replace(self, parts=[[own[index]] for own in self.parts], plans=[self.plans[index]])

    def lacking(self, store: Store) -> int:
        """Samples that must go through a model, each as often as it must."""
        return sum(
            planned_samples(self.plans) for own in self.parts if not all(self._is_there(part, store) for part in own)
        )

    def _is_there(self, part: Part, store: Store) -> bool:
        return part.ref in self.counted_on or store.holds(part.ref)

    def make(
        self, loaded: LoadedModel, store: Store, context: RunContext, interrupted: Callable[[], None] = lambda: None
    ) -> None:
        """Make what is lacking and in nobody's hands; `loaded` says how samples are decoded.

        Raises:
            DataError: a shard has too many bad samples.
        """
        wanted = [
            index
            for index in range(len(self.plans))
            if not all(self._is_there(own[index], store) for own in self.parts)
        ]
        read = [self.plans[index] for index in wanted]
        some = self.makers[0]  # all read alike
        stream = input_stream(
            loaded, some.encoder, read, batch_size=some.batch_size, context=context, decoder=some.decoder
        )
        copies = Copies(store.temporary_folder(f"{Copies.name(os.getpid())}-{some.stage}"))
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
        for maker, in_place, own in zip(self.makers, self.in_place, self.parts, strict=True):
            todo = [index for index in window if not self._is_there(own[index], store)]
            if todo:
                passing, plans = PassingStore(store), [self.plans[index] for index in todo]
                with in_place() as loaded:
                    made = maker.make([own[index] for index in todo], plans, loaded, passing, context, shared)
                    deque(made, maxlen=0)
                if passing.has_met:
                    return


class LackingTurns:
    """The shards of which some of several sets lack parts, for workers that are handed one after the other."""

    def __init__(self, turns: PartsInTurn, store: Store) -> None:
        """Look into `store` for what is there."""
        shards = [turns.of_shard(index) for index in range(len(turns.plans))]
        self.shares = [shard for shard in shards if shard.lacking(store)]
        self._n_samples = [shard.lacking(store) for shard in self.shares]
        self._store, self._stage = store, turns.makers[0].stage

    def done(self, number: int, made: Collection[ArtifactRef]) -> None:
        """Tell of a shard that was read for all; what another run is at is left to it.

        Raises:
            ArtifactError: what was made is not in the store of this process.
        """
        require_here(self._store, is_here=all(map(self._store.holds, made)))
        advance(self._stage, self._n_samples[number])
