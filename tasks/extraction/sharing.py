"""Parts made together with other processes on one store: each takes what nobody else is at, one after the other."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from data_specs.manifest import ArtifactRef, Manifest, Recipe
from tasks.encoders.loading import LoadedModel
from tasks.extraction.parts import Part, PartMaker
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import recipe_ref
from tasks.lineage.progress import advance, notice
from tasks.lineage.store import Build, Made, Store
from tasks.shards.plan import ShardPlan, planned_samples

# Between two looks at what others make: long against a lock, short against a part.
_PAUSE_SECONDS = 0.25
_TOLD_AFTER_SECONDS = 10.0


@dataclass(frozen=True)
class SharedParts:
    """Parts of one set, made by this process and others until all are there; a value that can be sent to another process.

    Neighbouring parts are made in one go, since decoding runs ahead from one to the next. Who comes to a part that
    another holds starts in the middle of the longest stretch that nobody is at, so that all meet seldom.
    """

    maker: PartMaker
    parts: Sequence[Part]
    plans: Sequence[ShardPlan]

    def help(self, store: Store, context: RunContext) -> None:
        """Make parts until all are there, and tell of none that others make."""
        with self.maker.model.opened() as loaded:
            self.make(loaded, store, context, tells=False)

    def sendable(self) -> "SharedParts":
        """The same, without what only planning needs to know of shards."""
        return replace(self, plans=without_samples(self.plans))

    def make(
        self,
        loaded: LoadedModel,
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
        before, left = frozenset(store.published), [*range(len(self.parts))]
        since = time.monotonic()
        while True:
            there = {index for index in left if store.holds(self.parts[index].ref)}
            left = [index for index in left if index not in there]
            if tells:
                own = store.published - before
                others = [self.plans[index] for index in sorted(there) if self.parts[index].ref not in own]
                advance(self.maker.stage, planned_samples(others))
            if not left:
                return
            interrupted()
            if stretch := self._stretch(left, store):
                parts, plans = [self.parts[index] for index in stretch], [self.plans[index] for index in stretch]
                passing = PassingStore(store, interrupted)
                deque(self.maker.make(parts, plans, loaded, passing, context), maxlen=0)
                since = time.monotonic()
            else:
                since = self._wait(since, len(left), tells=tells)

    def _wait(self, since: float, n_left: int, *, tells: bool) -> float:
        if tells and time.monotonic() - since > _TOLD_AFTER_SECONDS:
            notice(f"{self.maker.stage}: {n_left} shards are in the hands of other processes")
            since = math.inf
        time.sleep(_PAUSE_SECONDS)
        return since

    def _stretch(self, left: Sequence[int], store: Store) -> Sequence[int]:
        """Neighbours that nobody is at: the longest stretch, or its second half where somebody is heading for the first."""
        taken = [store.leases.is_taken(self.parts[index].ref) for index in left]
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


def without_samples(plans: Sequence[ShardPlan]) -> list[ShardPlan]:
    """Plans that say what is read, but not what else their shards hold."""
    return [replace(plan, shard=replace(plan.shard, samples=())) for plan in plans]


class PassingStore(Store):
    """A store for one stretch of parts: from the first that another makes, all are left out."""

    def __init__(self, store: Store, interrupted: Callable[[], None] = lambda: None) -> None:
        """Share all that `store` has and knows."""
        self.__dict__.update(store.__dict__)
        self._interrupted = interrupted
        self.has_met = False  # somebody who makes the same

    def begin(self, recipe: Recipe, write: Callable[[Build], None], context: RunContext) -> Callable[[], Made]:
        """As a store does, unless somebody else has been met."""
        self._interrupted()
        ref = recipe_ref(recipe)
        begun = None
        if not self.has_met and not self.holds(ref):
            begun = self.begin_unless_taken(recipe, write, context)
        self.has_met = begun is None
        return begun or _left_out(ref, self)


def _left_out(ref: ArtifactRef, store: Store) -> Callable[[], Made]:
    # Not told as reused: it counts as done when it is there.
    made = Made(ref, store.folder(ref), False, Manifest.model_construct(version=ref.version))
    return lambda: made
