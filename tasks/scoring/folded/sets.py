"""A folded set: parts of shards, joined two by two as soon as both are there; of a set that grows, what is joined stays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_specs.manifest import ArtifactRef, Recipe
from tasks.extraction.parts import Part
from tasks.extraction.windows import complete_nodes
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import recipe_ref
from tasks.lineage.discarding import discard
from tasks.lineage.progress import advance
from tasks.lineage.store import Build, Made, Store
from tasks.scoring.folded.layer import Folded, LayerFolding, LayerState
from tasks.scoring.folded.parts import OF_SHARDS, SUMMED
from tasks.shards.plan import BadSample, ShardPlan, Tally, planned_samples

JOINED = ".joined"  # ends the kind of what neighbouring parts come to

Node = tuple[int, int]  # first shard and how many, a power of two


@dataclass(frozen=True)
class FoldedSet:
    """The shards of one set in their order, with the part of each."""

    kind: str
    plans: Sequence[ShardPlan]
    parts: Sequence[Part]
    code: Mapping[str, Any]  # of all that is made of parts

    def ref(self, node: Node) -> ArtifactRef:
        """The artifact of a node: the part of one shard, or what several come to."""
        first, span = node
        return self.parts[first].ref if span == 1 else recipe_ref(self.recipe(self.kind + JOINED, node))

    def recipe(self, kind: str, node: Node) -> Recipe:
        """What decides the content of what some neighbouring shards come to.

        It names the shards and not the parts, which are removed once they are joined.
        """
        first, span = node
        some = slice(first, first + span)
        shared = {name: value for name, value in self.parts[first].recipe.settings.items() if name not in _OF_ONE}
        plans = self.plans[some]
        return Recipe(
            kind=kind,
            settings={
                **shared,
                "samples": [len(plan.keys) for plan in plans],
                "contents": [plan.shard.content for plan in plans],
            },
            inputs={
                "encoder": self.parts[first].recipe.inputs["encoder"],
                "shards": [plan.shard.sha256 for plan in plans],
            },
            **self.code,
        )

    def lacking(self, store: Store) -> list[int]:
        """The shards that must be read, in order: of no node that is there."""
        return [first for node in complete_nodes(len(self.parts)) for first in self._lacking(node, store)]

    def _lacking(self, node: Node, store: Store) -> Iterator[int]:
        if store.holds(self.ref(node)):
            return
        if node[1] == 1:
            yield node[0]
            return
        for half in halves(node):
            yield from self._lacking(half, store)


_OF_ONE = ("samples", "content")


def halves(node: Node) -> tuple[Node, Node]:
    """The two nodes that one is made of."""
    first, span = node
    return (first, span // 2), (first + span // 2, span // 2)


class Joining:
    """Makes the nodes of a set from parts that come in their order."""

    def __init__(
        self, folded: FoldedSet, parts: Iterator[Made], layers: Mapping[str, LayerFolding], store: Store, stage: str
    ) -> None:
        """Take from `parts` those that the set lacks; `layers` are by folder."""
        self._set, self._parts, self._layers, self._store, self._stage = folded, parts, layers, store, stage

    def fill(self, build: Build, max_bad_fraction: float, context: RunContext) -> None:
        """Make the artifact of the whole set from its complete nodes, which stay for the set to grow on.

        Raises:
            DataError: more samples of all parts are bad than is allowed.
        """
        nodes = complete_nodes(len(self._set.parts))
        made = [self._node(node, context) for node in nodes]
        if len(made) == 1:
            for entry in made[0].manifest.files:
                build.take(made[0].path, entry, entry.path)
            _record(build, made)
        else:
            self._join(build, made)
        for node in nodes:
            self._forget_below(node)
        tally = Tally(planned_samples(self._set.plans), max_bad_fraction)
        for plan, of_shard in zip(self._set.plans, build.counts[OF_SHARDS], strict=True):
            tally.add(of_shard["used"], plan.shard.location, [BadSample(**item) for item in of_shard["bad"]])
        build.counts.update(tally.counts())
        del build.counts[OF_SHARDS]

    def _node(self, node: Node, context: RunContext) -> Made:
        ref = self._set.ref(node)
        if self._store.holds(ref):
            advance(self._stage, planned_samples(self._set.plans[node[0] : node[0] + node[1]]))
            return Made(ref, self._store.path(ref), True, self._store.ensure(ref))
        if node[1] == 1:
            return next(self._parts)
        both = [self._node(half, context) for half in halves(node)]
        recipe = self._set.recipe(self._set.kind + JOINED, node)
        joined = self._store.materialise(recipe, lambda build: self._join(build, both), context)
        for item in both:
            discard(self._store, item.ref)
        return joined

    def _join(self, build: Build, made: Sequence[Made]) -> None:
        """Write what some neighbours come to, layer by layer; they are joined as the nodes of one tree, last ones first."""
        counts = [item.manifest.counts[SUMMED] for item in made]
        for folder, layer in self._layers.items():
            state = layer.read(made[-1].path / folder, counts[-1])
            for item, of_item in zip(reversed(made[:-1]), reversed(counts[:-1]), strict=True):
                state = layer.join(layer.read(item.path / folder, of_item), state)
            layer.write(state, build.folder / folder)
            build.counts[SUMMED] = counts_of(state)
        _record(build, made)

    def _forget_below(self, node: Node) -> None:
        # A killed run may have left the halves of what it had joined.
        if node[1] > 1:
            for half in halves(node):
                discard(self._store, self._set.ref(half))
                self._forget_below(half)


def counts_of(state: LayerState) -> dict[str, int] | None:
    """What a layer's sums count; None where it is rows."""
    return dict(state.sums.counts) if isinstance(state, Folded) else None


def _record(build: Build, made: Sequence[Made]) -> None:
    build.counts.setdefault(SUMMED, made[0].manifest.counts[SUMMED])
    build.counts[OF_SHARDS] = [item for each in made for item in each.manifest.counts[OF_SHARDS]]
    build.sources.extend(source for each in made for source in each.manifest.sources)
