"""What comes of one shard as an artifact of its own, which any process can make that reaches the store and the model's files."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from data_specs.errors import DataError
from data_specs.manifest import ArtifactRef, Recipe, Source
from data_specs.run_config import Content, Decoder, Encoder, Precision
from tasks.encoders.loading import LoadedModel
from tasks.extraction.rows import Observer, RowFold
from tasks.extraction.shard_pass import Batches, Fold, ShardCounts, ShardPass, input_stream
from tasks.extraction.shared_reading import SharedReading
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import recipe_ref
from tasks.lineage.progress import advance
from tasks.lineage.store import Build, Made, Store
from tasks.shards.inspection import inspect_shard
from tasks.shards.plan import ShardPlan, plan_reading
from tasks.workers.shared_work import Given

# The disk confirms what several threads wrote at once, in the time of one.
_FINISHING = 4


_Given_co = TypeVar("_Given_co", covariant=True)


class Openable(Protocol[_Given_co]):
    """Names by value what parts are made with: any process that reaches its files can open it."""

    def opened(self) -> AbstractContextManager[_Given_co]:
        """It, for as long as the block lasts; its files are read once in a process."""


class ObserverOf(Protocol):
    """Names an observer by value, so that it can be sent; called in the process that runs the model."""

    def __call__(self, model: nn.Module) -> Observer:
        """The observer of a model."""


@dataclass(frozen=True)
class Part:
    """What is read of one shard, and the recipe of what comes of it; values only, and few."""

    recipe: Recipe
    location: str
    path: Path
    sha256: str
    content: Content | None
    room: int | None  # samples at most, where the limit of the set cuts the shard
    needs: tuple[str, ...] = ()

    @cached_property
    def ref(self) -> ArtifactRef:
        """The artifact that it becomes; who waits for many asks for all of them again and again."""
        return recipe_ref(self.recipe)

    def plan(self, encoder: Encoder) -> ShardPlan:
        """Which samples those are, from the shard itself.

        Raises:
            DataError: the shard cannot be read here, or is another than was planned.
        """
        if not self.path.is_file():
            raise DataError(
                f"shard {self.location} is not at {self.path} on this machine; put it where every worker sees it"
            )
        shard = inspect_shard(self.location, self.content, self.path)
        if shard.sha256 != self.sha256:
            raise DataError(
                f"shard {self.location} is not what was planned: sha256 {shard.sha256[:12]}, expected {self.sha256[:12]}"
            )
        return plan_reading([shard], encoder, self.room, needs=self.needs)[0]


@dataclass(frozen=True)
class MakesParts(ABC, Generic[Given]):
    """How the parts of one set are made; a value that can be sent to another process."""

    model: Openable[Given]
    encoder: Encoder  # whose inputs are read
    batch_size: int
    max_bad_fraction: float
    n_planned: int  # samples of the whole set
    stage: str
    decoder: Decoder

    def __call__(self, part: Part, store: Store, context: RunContext) -> Made:
        """Make one part, in whatever process this is.

        Raises:
            SpecError: the model's files here are those of another model.
            DataError: the shard is missing or another here, or too many of its samples are bad.
        """
        with self.model.opened() as loaded:
            return next(self.make([part], [part.plan(self.encoder)], loaded, store, context))

    def make(
        self,
        parts: Sequence[Part],
        plans: Sequence[ShardPlan],
        loaded: Given,
        store: Store,
        context: RunContext,
        decoded: SharedReading | None = None,
    ) -> Iterator[Made]:
        """Make parts one after the other, or find them made; decoding goes on from one to the next.

        The next one is computed while threads bring the last ones to disk. What `decoded` holds is not decoded again.
        """
        there = store.held(part.ref for part in parts)
        missing = [index for index, part in enumerate(parts) if part.ref not in there]
        shard_pass = self.shard_pass(
            [parts[index] for index in missing],
            [plans[index] for index in missing],
            loaded,
            store,
            context,
            decoded,
        )
        places = {index: place for place, index in enumerate(missing)}
        under_way: deque[tuple[ShardPlan, Future[Made]]] = deque()
        with ThreadPoolExecutor(_FINISHING) as pool:
            for index, (part, plan) in enumerate(zip(parts, plans, strict=True)):
                write = self._writer(shard_pass, places.get(index), plan)
                finish = store.begin(part.recipe, write, context, part.ref)
                under_way.append((plan, pool.submit(finish)))
                if len(under_way) > _FINISHING:
                    yield self._finished(*under_way.popleft())
            for each in under_way:
                yield self._finished(*each)

    def shard_pass(
        self,
        parts: Sequence[Part],
        plans: Sequence[ShardPlan],
        loaded: Given,
        store: Store,
        context: RunContext,
        decoded: SharedReading | None,
    ) -> ShardPass:
        """The pass over the shards of parts that are to be made."""
        return ShardPass(
            self.stream(loaded, plans, context) if decoded is None else decoded.of(plans),
            plans,
            self.fold(parts, loaded, store, torch.device(context.device)),
            stage=self.stage,
            max_bad_fraction=self.max_bad_fraction,
            n_planned=self.n_planned,
        )

    @abstractmethod
    def stream(self, loaded: Given, plans: Sequence[ShardPlan], context: RunContext) -> Batches:
        """What is read of shards, decoded."""

    @abstractmethod
    def fold(self, parts: Sequence[Part], loaded: Given, store: Store, device: torch.device) -> Fold:
        """What becomes of the batches of shards, of which `parts` are made; `store` has what they are made of besides."""

    def counts(self, counted: ShardCounts) -> dict[str, Any]:
        """What the record of a part says of its samples."""
        return {"samples_used": counted.used, "bad": [vars(item) for item in counted.bad]}

    def _writer(self, shard_pass: ShardPass, place: int | None, plan: ShardPlan) -> Callable[[Build], None]:
        def write(build: Build) -> None:
            shard = plan.shard
            if place is None:
                raise DataError(f"what was made of shard {shard.location} vanished from the store; start again")
            build.counts.update(self.counts(shard_pass.run_shard(place, build)))
            build.sources.append(Source(location=shard.location, sha256=shard.sha256, size_bytes=shard.size_bytes))

        return write

    def _finished(self, plan: ShardPlan, finishing: Future[Made]) -> Made:
        made = finishing.result()
        if made.reused:
            advance(self.stage, len(plan.keys) + len(plan.bad))
        return made


@dataclass(frozen=True)
class PartMaker(MakesParts[LoadedModel]):
    """Parts by an encoder's forward pass."""

    precision: Precision

    def stream(self, loaded: LoadedModel, plans: Sequence[ShardPlan], context: RunContext) -> Batches:
        """As the encoder needs it."""
        return input_stream(
            loaded,
            self.encoder,
            plans,
            batch_size=self.batch_size,
            context=context,
            side=self.side,
            decoder=self.decoder,
        )

    @property
    def side(self) -> Content | None:
        """The side of pairs that is read; None for both."""
        return None


@dataclass(frozen=True)
class RowPartMaker(PartMaker):
    """How the parts of one set are made that keep rows."""

    observer: ObserverOf

    def fold(self, parts: Sequence[Part], loaded: LoadedModel, store: Store, device: torch.device) -> Fold:
        """Rows in files."""
        del parts, store
        return RowFold(loaded, self.encoder, self.observer(loaded.model), self.precision, device)
