"""A set of sums: parts of shards, joined in a binary tree as soon as four are there; of a set that grows, what is joined stays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Self

import torch

from data_specs.folding import SAMPLES_READ
from data_specs.manifest import ArtifactRef, Recipe
from data_specs.samples import needed_contents
from tasks.encoders.loading import LoadedModel
from tasks.extraction.freed_memory import return_freed_memory
from tasks.extraction.parts import Part
from tasks.extraction.sharing import without_samples
from tasks.extraction.windows import complete_nodes, span_over
from tasks.lineage.circumstances import RunContext
from tasks.lineage.cores import available_cores
from tasks.lineage.digest import recipe_ref
from tasks.lineage.dropping.discarding import discard
from tasks.lineage.store import Build, Made, Store
from tasks.scoring.joined.layer import OF_SHARDS, SUMMED, JoinedLayer, JoinedPartMaker, State, SumCounts
from tasks.shards.plan import BadSample, ShardPlan, Tally

JOINED = ".joined"  # ends the kind of what neighbouring parts come to

Node = tuple[int, int]  # first shard and how many, a power of two


@dataclass(frozen=True)
class JoinedSet:
    """The shards of one set in their order, with the part of each."""

    kind: str
    maker: JoinedPartMaker
    parts: Sequence[Part]
    plans: Sequence[ShardPlan]
    code: Mapping[str, Any]  # of all that is made of parts
    refs: dict[Node, ArtifactRef] = field(default_factory=dict, repr=False, compare=False)  # those that were asked for

    def ref(self, node: Node) -> ArtifactRef:
        """The artifact of a node: the part of one shard, or what several come to."""
        if node[1] == 1:
            return self.parts[node[0]].ref
        if node not in self.refs:
            self.refs[node] = recipe_ref(self.recipe_of(node))
        return self.refs[node]

    def recipe(self) -> Recipe:
        """What decides the content of the whole set."""
        return self._recipe(self.kind, (0, len(self.parts)))

    def recipe_of(self, node: Node) -> Recipe:
        """What decides the content of what some neighbouring shards come to."""
        return self._recipe(self.kind + JOINED, node)

    def _recipe(self, kind: str, node: Node) -> Recipe:
        # It names the shards and not the parts, which are removed once they are joined.
        first, span = node
        some = slice(first, first + span)
        shared = {name: value for name, value in self.parts[first].recipe.settings.items() if name not in _OF_ONE}
        of_all = {role: given for role, given in self.parts[first].recipe.inputs.items() if role != "shard"}
        plans = self.plans[some]
        return Recipe(
            kind=kind,
            settings={
                **shared,
                "samples": [len(plan.keys) for plan in plans],
                "contents": [plan.shard.content for plan in plans],
            },
            inputs={**of_all, "shards": [plan.shard.sha256 for plan in plans]},
            **self.code,
        )

    def nodes(self) -> Iterator[ArtifactRef]:
        """The artifacts of all nodes."""
        return (self.ref(node) for top in complete_nodes(len(self.parts)) for node in _below(top))

    def bring(self, store: Store) -> None:
        """Have here what a remote has: of a node that is there, nothing below."""
        store.elsewhere.ask(self.nodes())
        store.elsewhere.bring_all(
            self.ref(node) for top in complete_nodes(len(self.parts)) for node in self._highest(top, store)
        )

    def _highest(self, node: Node, store: Store) -> Iterator[Node]:
        if store.holds(self.ref(node)):
            yield node
        elif node[1] > 1:
            for half in halves(node):
                yield from self._highest(half, store)

    def lacking(self, store: Store) -> list[int]:
        """The places of the shards that must be read, in order: of no node that is there."""
        found = (first for node in complete_nodes(len(self.parts)) for first in self._lacking(node, store))
        # Meanwhile others may have joined what is below a node.
        return [index for index in found if not self.is_there(index, store)]

    def _lacking(self, node: Node, store: Store) -> Iterator[int]:
        if store.holds(self.ref(node)):
            return
        if node[1] == 1:
            yield node[0]
            return
        for half in halves(node):
            yield from self._lacking(half, store)

    def is_there(self, index: int, store: Store) -> bool:
        """Whether a part is there, or a node above it; from below, as what is joined is removed after that is there."""
        return any(store.holds(self.ref(node)) for node in [(index, 1), *self.above(index)])

    def above(self, index: int) -> Iterator[Node]:
        """The nodes that hold a shard, from two shards up to the whole of a complete node."""
        first, span = next(node for node in complete_nodes(len(self.parts)) if node[0] <= index < node[0] + node[1])
        for level in range(1, span.bit_length()):
            yield first + ((index - first) >> level << level), 1 << level

    def is_kept(self, node: Node) -> bool:
        """Whether a node is ever an artifact: the span is a power of four, or the node is complete and in no larger one."""
        return node[1].bit_length() % 2 == 1 or node in complete_nodes(len(self.parts))

    def settling(self, loaded: LoadedModel, store: Store, context: RunContext) -> Callable[[int], None]:
        """Joins a part with its neighbours, and so on upwards, as soon as all pieces of a node are there."""
        return Joining(self, loaded, store, context).settle

    def sendable(self) -> Self:
        """The same, without what only planning needs to know of shards."""
        return replace(self, plans=without_samples(self.plans))

    def fill(self, build: Build, read: Sequence[int], loaded: LoadedModel, store: Store, context: RunContext) -> None:
        """Make the whole set from its complete nodes; see `Joining.fill`."""
        Joining(self, loaded, store, context).fill(build)
        build.counts[SAMPLES_READ] = sum(n_inputs(self.plans[index]) for index in read)


_OF_ONE = ("samples", "content")


def halves(node: Node) -> tuple[Node, Node]:
    """The two nodes that one is made of."""
    first, span = node
    return (first, span // 2), (first + span // 2, span // 2)


def _below(node: Node) -> Iterator[Node]:
    yield node
    if node[1] > 1:
        for half in halves(node):
            yield from _below(half)


def n_inputs(plan: ShardPlan) -> int:
    """Images or texts of a shard that go through the model."""
    return len(plan.keys) * len(needed_contents(plan.shard.content))


class Joining:
    """Makes the nodes of a set from the parts that are there, beside other processes that do the same.

    A node is made under its lock, and its pieces are removed after it is there: so whoever holds the lock of one that is
    not there finds all pieces, or may make them.
    """

    def __init__(self, joined: JoinedSet, loaded: LoadedModel, store: Store, context: RunContext) -> None:
        """Join in `store` what is summed of a model."""
        self._set, self._loaded, self._store, self._context = joined, loaded, store, context
        self._threads = max(1, available_cores() // 2)

    @cached_property
    def _layers(self) -> Mapping[str, JoinedLayer[Any]]:
        return self._set.maker.layers(self._loaded, torch.device(self._context.device))

    def settle(self, index: int) -> None:
        """Join upwards from a part, as far as all pieces are there and nobody else is at it."""
        if any(self._store.holds(self._set.ref(node)) for node in self._set.above(index)):
            discard(self._store, self._set.parts[index].ref)  # another run was faster
            return
        for node in filter(self._set.is_kept, self._set.above(index)):
            pieces = self._pieces(node)
            if not all(self._store.holds(self._set.ref(piece)) for piece in pieces):
                return
            finish = self._store.begin_unless_taken(
                self._set.recipe_of(node), partial(self._write, node), self._context
            )
            if finish is None:
                return
            finish()
            for piece in pieces:
                discard(self._store, self._set.ref(piece))

    def fill(self, build: Build) -> None:
        """Make the artifact of the whole set from its complete nodes, which stay for the set to grow on.

        Raises:
            DataError: more samples of all parts are bad than is allowed.
        """
        made = self.complete()
        if len(made) == 1:
            whole = next(iter(made.values()))
            for entry in whole.manifest.files:
                build.take(whole.path, entry, entry.path)
            _record(build, [whole])
        else:
            self._join(build, made)
        for node in made:
            self._forget_below(node)
        tally = Tally(self._set.maker.n_planned, self._set.maker.max_bad_fraction)
        for plan, of_shard in zip(self._set.plans, build.counts[OF_SHARDS], strict=True):
            tally.add(of_shard["used"], plan.shard.location, [BadSample(**item) for item in of_shard["bad"]])
        build.counts.update(tally.counts())
        del build.counts[OF_SHARDS]

    def complete(self) -> dict[Node, Made]:
        """The complete nodes of the set, in their order."""
        return {node: self._node(node) for node in complete_nodes(len(self._set.parts))}

    def _pieces(self, node: Node) -> list[Node]:
        """What a node is made of: four of a quarter its span as a rule, as what is soon joined again is not written.

        Shorter sets leave halves, of which nothing below is there.
        """
        found: list[Node] = []
        for half in halves(node):
            whole = self._set.is_kept(half) or self._store.holds(self._set.ref(half))
            found += [half] if whole else self._pieces(half)
        return found

    def _node(self, node: Node) -> Made:
        if node[1] > 1:
            made = self._store.materialise(self._set.recipe_of(node), partial(self._write, node), self._context)
            return replace(made, path=self._store.path(made.ref))
        part, plan = self._set.parts[node[0]], self._set.plans[node[0]]
        if self._store.holds(part.ref):
            return Made(part.ref, self._store.path(part.ref), True, self._store.ensure(part.ref))
        # A set of other length has taken it meanwhile.
        return next(self._set.maker.make([part], [plan], self._loaded, self._store, self._context))

    def _write(self, node: Node, build: Build) -> None:
        made: dict[Node, Made] = {}
        while not made:
            made = {piece: self._node(piece) for piece in self._pieces(node)}
            try:
                self._join(build, made)
            except FileNotFoundError:
                if all(self._store.holds(piece.ref) for piece in made.values()):
                    raise
                made = {}  # a set of other length, of which a half is a complete node, has joined it meanwhile

    def _join(self, build: Build, made: Mapping[Node, Made]) -> None:
        """Write what some neighbours come to, layer by layer."""

        def join(folder: str) -> SumCounts | None:
            layer = self._layers[folder]
            state = joined_state(layer, folder, made)
            layer.write(state, build.folder / folder)
            return layer.counts(state)

        # A thread asks once for the number of threads that this process computes with, as that may change last digits.
        with ThreadPoolExecutor(self._threads, initializer=torch.get_num_threads) as pool:
            counts = [*pool.map(join, self._layers)]
        build.counts[SUMMED] = next((each for each in counts if each is not None), None)
        _record(build, [*made.values()])
        return_freed_memory()

    def _forget_below(self, node: Node) -> None:
        # A killed run may have left the pieces of what it had joined, and a shorter set its nodes.
        if node[1] > 1:
            for half in halves(node):
                discard(self._store, self._set.ref(half))
                self._forget_below(half)


def joined_state(layer: JoinedLayer[State], folder: str, made: Mapping[Node, Made]) -> State:
    """One layer's sums over all of some neighbouring nodes, joined as one tree; later halves first, one of each is held."""

    def over(nodes: Sequence[Node]) -> State:
        if len(nodes) == 1:
            node = made[nodes[0]]
            return layer.read(node.path / folder, node.manifest.counts[SUMMED])
        half = nodes[0][0] + span_over(sum(span for _, span in nodes)) // 2
        n_earlier = sum(first < half for first, _ in nodes)
        later = over(nodes[n_earlier:])
        joined = layer.join(over(nodes[:n_earlier]), later)
        # The same to the bit, whether it was ever written or not.
        return joined if len(nodes) == len(made) else layer.as_read(joined)

    return over([*made])


def _record(build: Build, made: Sequence[Made]) -> None:
    build.counts.setdefault(SUMMED, made[0].manifest.counts[SUMMED])
    build.counts[OF_SHARDS] = [item for each in made for item in each.manifest.counts[OF_SHARDS]]
    build.sources.extend(source for each in made for source in each.manifest.sources)
