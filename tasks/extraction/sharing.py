"""Parts made together with other processes on one store: each takes what nobody else is at, one after the other."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Generic, Protocol, Self

import torch

from data_specs.manifest import ArtifactRef, Manifest, Recipe
from tasks.extraction.parts import MakesParts, Part
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import recipe_ref
from tasks.lineage.progress import advance, notice
from tasks.lineage.store import Build, Made, Store
from tasks.shards.plan import ShardPlan, planned_samples
from tasks.workers.shared_work import Given, require_here

# Between two looks at what others make: the last parts of a set may end at any moment, long ones do not.
_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.25)
_TOLD_AFTER_SECONDS = 10.0


class PartedSet(Protocol[Given]):
    """Parts over shards in their order, and what becomes of those that are there; a value that can be sent to another process."""

    @property
    def maker(self) -> MakesParts[Given]:
        """How a part is made."""

    @property
    def parts(self) -> Sequence[Part]:
        """One a shard."""

    @property
    def plans(self) -> Sequence[ShardPlan]:
        """The samples of each."""

    def lacking(self, store: Store) -> list[int]:
        """The places of the parts that must be made, in order."""

    def is_there(self, index: int, store: Store) -> bool:
        """Whether a part is there, or what it has become a part of."""

    def settling(self, loaded: Given, store: Store, context: RunContext) -> Callable[[int], None]:
        """What is to be called with a part's place once it is there, in whatever process made it."""

    def sendable(self) -> Self:
        """The same, without what only planning needs to know of shards."""


@dataclass(frozen=True)
class SharedParts(Generic[Given]):
    """Parts of one set, made by this process and others until all are there; a value that can be sent to another process.

    Neighbouring parts are made in one go, since decoding runs ahead from one to the next. Who comes to a part that
    another holds starts in the middle of the longest stretch that nobody is at, so that all meet seldom.
    """

    parted: PartedSet[Given]

    def help(self, store: Store, context: RunContext) -> None:
        """Make parts until all are there, and tell of none that others make."""
        with self.parted.maker.model.opened() as loaded:
            self.make(loaded, store, context, tells=False)

    def sendable(self) -> "SharedParts[Given]":
        """The same, small."""
        return SharedParts(self.parted.sendable())

    def make(
        self,
        loaded: Given,
        store: Store,
        context: RunContext,
        interrupted: Callable[[], None] = lambda: None,
        *,
        tells: bool = True,
    ) -> None:
        """Make parts, or wait for those that make them, until all are there.

        Args:
            loaded: the model.
            store: takes the parts.
            context: how the run is carried out.
            interrupted: is called between two parts and while others are waited for; it may raise.
            tells: of parts that other processes make, so that progress comes to its end.

        Raises:
            DataError: a shard has too many bad samples.
        """
        maker, parts, plans = self.parted.maker, self.parted.parts, self.parted.plans
        settle = self.parted.settling(loaded, store, context)
        before, left = frozenset(store.published), [*range(len(parts))]
        waiting = _Waiting(maker.stage if tells else None)
        while True:
            lacking = {*self.parted.lacking(store)}
            there, left = [i for i in left if i not in lacking], [i for i in left if i in lacking]
            interrupted()  # since then, what helpers have made is known as such
            if tells:
                own = store.published - before
                advance(maker.stage, planned_samples([plans[i] for i in there if parts[i].ref not in own]))
            if not left:
                return
            if stretch := self._stretch(left, store):
                passing = PassingStore(store, interrupted, self._looking_for(stretch, store))
                made = maker.make([parts[i] for i in stretch], [plans[i] for i in stretch], loaded, passing, context)
                with one_behind(settle) as settled:
                    for index, _ in zip(stretch, made, strict=True):
                        settled(index)
                waiting = _Waiting(maker.stage if tells else None)
            else:
                waiting.wait(len(left))

    def _looking_for(self, stretch: Sequence[int], store: Store) -> Callable[[ArtifactRef], bool]:
        places = {self.parted.parts[index].ref: index for index in stretch}
        return lambda ref: self.parted.is_there(places[ref], store)

    def shares(self, loaded: Given, store: Store, context: RunContext) -> "LackingParts":
        """A part each."""
        return LackingParts(self.parted, loaded, store, context)

    def _stretch(self, left: Sequence[int], store: Store) -> Sequence[int]:
        """Neighbours that nobody is at: the longest stretch, or its second half where somebody is heading for the first."""
        taken = [store.leases.is_taken(self.parted.parts[index].ref) for index in left]
        stretches, start = [], 0
        for is_taken, group in groupby(taken):
            length = len([*group])
            if not is_taken:
                stretches.append((length, -start))
            start += length
        if not stretches:
            return []
        length, first = max(stretches)
        first = -first
        half = length // 2 if first and taken[first - 1] else 0
        return left[first + half : first + length]


class _Waiting:
    """For parts that others make: at first short, then longer, and once more short when one is there."""

    def __init__(self, told_of: str | None) -> None:
        self._told_of, self._since = told_of, time.monotonic()
        self._n_left, self._n_looks = -1, 0

    def wait(self, n_left: int) -> None:
        if self._told_of is not None and time.monotonic() - self._since > _TOLD_AFTER_SECONDS:
            notice(f"{self._told_of}: {n_left} shards are in the hands of other processes")
            self._told_of = None
        self._n_looks = self._n_looks + 1 if n_left == self._n_left else 0
        self._n_left = n_left
        time.sleep(_PAUSES_SECONDS[min(self._n_looks, len(_PAUSES_SECONDS) - 1)])


@dataclass(frozen=True)
class OnePart:
    """A part, and how it is made."""

    maker: MakesParts[Any]
    part: Part

    def do(self, store: Store, context: RunContext) -> None:
        """Make it.

        Raises:
            DataError: its shard is missing or another here, or too many of its samples are bad.
        """
        self.maker(self.part, store, context)


class LackingParts:
    """The parts that a set lacks, for workers that are handed one after the other."""

    def __init__(self, parted: PartedSet[Given], loaded: Given, store: Store, context: RunContext) -> None:
        """What is there already is told as done."""
        self._parted, self._store = parted, store
        self._settle = parted.settling(loaded, store, context)
        self._places = parted.lacking(store)
        self._tell({*range(len(parted.parts))}.difference(self._places))
        self.shares = [OnePart(parted.maker, parted.parts[index]) for index in self._places]

    def done(self, number: int, made: Collection[ArtifactRef]) -> None:
        """Tell of a part that is there now, and let the set take it in.

        Raises:
            ArtifactError: it is not in the store of this process.
        """
        del made
        index = self._places[number]
        require_here(self._store, is_here=self._parted.is_there(index, self._store))
        self._tell([index])
        self._settle(index)

    def _tell(self, places: Collection[int]) -> None:
        advance(self._parted.maker.stage, planned_samples([self._parted.plans[index] for index in places]))


@contextmanager
def one_behind(settle: Callable[[int], None]) -> Iterator[Callable[[int], None]]:
    """The same, done one after the other by a thread while the next part is made; all of it when the block ends.

    Its first error is raised when the next part is there, or at the end of the block, and nothing is done after it.
    """
    # A thread asks once for the number of threads that this process computes with, as that may change last digits.
    with ThreadPoolExecutor(1, "settling", initializer=torch.get_num_threads) as pool:
        under_way: list[Future[None]] = []

        def submit(index: int) -> None:
            if under_way:
                under_way.pop().result()
            under_way.append(pool.submit(settle, index))

        yield submit
        for each in under_way:
            each.result()


def without_samples(plans: Sequence[ShardPlan]) -> list[ShardPlan]:
    """Plans that say what is read, but not what else their shards hold."""
    return [replace(plan, shard=replace(plan.shard, samples=())) for plan in plans]


class PassingStore(Store):
    """A store for one stretch of parts: from the first that another makes, all are left out."""

    def __init__(
        self,
        store: Store,
        interrupted: Callable[[], None] = lambda: None,
        is_there: Callable[[ArtifactRef], bool] | None = None,
    ) -> None:
        """Share all that `store` has and knows; `is_there` says of a part whether it need not be made."""
        self.__dict__.update(store.__dict__)
        self._interrupted, self._is_there = interrupted, is_there or self.holds
        self.has_met = False  # somebody who makes the same

    def begin(
        self, recipe: Recipe, write: Callable[[Build], None], context: RunContext, ref: ArtifactRef | None = None
    ) -> Callable[[], Made]:
        """As a store does, unless somebody else has been met."""
        self._interrupted()
        ref = ref or recipe_ref(recipe)
        begun = None
        if not self.has_met and not self._is_there(ref):
            begun = self.begin_unless_taken(recipe, write, context, ref)
        self.has_met = begun is None
        return begun or _left_out(ref, self)


def _left_out(ref: ArtifactRef, store: Store) -> Callable[[], Made]:
    # Not told as reused: it counts as done when it is there.
    made = Made(ref, store.folder(ref), False, Manifest.model_construct(version=ref.version))
    return lambda: made
