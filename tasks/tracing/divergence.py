"""Where two lineages part: the first things that differ between two artifacts, and what followed from each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from data_specs.errors import SpecError
from data_specs.manifest import ArtifactRef
from tasks.lineage.store import Store
from tasks.tracing.edges import Edges, Input
from tasks.tracing.local_differences import Differing, Side, local_differences

_PARTS = "parts"

Pair = tuple[ArtifactRef, ArtifactRef]


@dataclass(frozen=True)
class Divergence:
    """A thing that differs: where it shows first, and what differs for it further on, each behind what it was made of."""

    differing: Differing
    where: Sequence[Pair]
    followed: Sequence[Pair]


def find_divergences(store: Store, edges: Edges, first: ArtifactRef, second: ArtifactRef) -> list[Divergence]:
    """Walk down from two artifacts of one kind to where they part.

    Args:
        store: holds both and all that is behind them.
        edges: of the same store.
        first: the one.
        second: the other.

    Returns:
        What differs by itself and not for what it was made of, the deepest first; nothing where nothing does.

    Raises:
        SpecError: they are of two kinds.
        ArtifactError: something behind them is missing.
    """
    if first.kind != second.kind:
        raise SpecError(
            f"{first.kind} {first.version[:12]} and {second.kind} {second.version[:12]} are of two kinds; name two of one"
            " kind, such as NAME:evaluation.edited of two runs"
        )
    walk = _Walk(store, edges, (first, second))
    walk.visit((first, second))
    return walk.divergences()


class _Walk:
    def __init__(self, store: Store, edges: Edges, root: Pair) -> None:
        self._store, self._edges = store, edges
        self._behind = [_recorded_behind(edges, ref) for ref in root]
        self._above: dict[Pair, list[Pair]] = {}  # a pair stands behind those below it
        self._differing: dict[Pair, list[Differing]] = {}

    def visit(self, pair: Pair) -> None:
        if pair[0] == pair[1] or pair in self._above:
            return
        self._above[pair] = []
        sides = [Side(self._store.manifest(ref), [*self._inputs(ref, self._behind[n])]) for n, ref in enumerate(pair)]
        for below in _pairs_below(*sides):
            self.visit(below)
            self._above[below].append(pair)
        self._differing[pair] = [*local_differences(*sides)]

    def _inputs(self, ref: ArtifactRef, behind: set[str]) -> Iterator[Input]:
        """What an artifact was made of; of several edits that left the same encoder the one that was asked for."""
        for item in self._edges.as_recorded(ref.version):
            found = self._edges.with_models(ref.kind, item)
            yield from [each for each in found if each.version in behind] or found[:1]

    def divergences(self) -> list[Divergence]:
        """By what differs, wherever it does: the pairs that have it and stand on none that has it, too."""
        having: dict[Differing, list[Pair]] = {}
        for pair, found in self._differing.items():
            for item in found:
                having.setdefault(item, []).append(pair)
        told = []
        for item, pairs in _without_mirrors(having).items():
            above = self._all_above(pairs)
            where = [pair for pair in pairs if pair not in above] or pairs
            after = self._all_above(where)
            told.append(Divergence(item, where, [pair for pair in self._differing if pair in after]))
        return told

    def _all_above(self, pairs: Iterable[Pair]) -> set[Pair]:
        found: set[Pair] = set()
        pending = [*pairs]
        while pending:
            more = {*self._above[pending.pop()]} - found
            found |= more
            pending += more
        return found


def _recorded_behind(edges: Edges, ref: ArtifactRef) -> set[str]:
    found, pending = {ref.version}, [ref.version]
    while pending:
        more = {item.version for item in edges.as_recorded(pending.pop()) if item.version} - found
        found |= more
        pending += more
    return found


def _without_mirrors(having: Mapping[Differing, list[Pair]]) -> dict[Differing, list[Pair]]:
    """Without what says a setting that differs once more: what a summary was asked for, and the precision of a machine."""
    settings = {item.name for item in having if item.what == "setting"}

    def is_mirror(item: Differing) -> bool:
        encoder = item.name.removeprefix("asked.")
        asked = item.name.startswith("asked.") and {f"{encoder}.tau", f"{encoder}.rule"} & settings
        return bool(asked if item.what == "setting" else item.what == "precision" and "precision" in settings)

    return {item: pairs for item, pairs in having.items() if not is_mirror(item)}


def _pairs_below(first: Side, second: Side) -> Iterator[Pair]:
    """The artifacts that stand in the same place behind two, and differ."""
    for role in dict.fromkeys((*first.artifacts, *second.artifacts)):
        ours, theirs = first.artifacts.get(role, []), second.artifacts.get(role, [])
        pairs = _by_shard(first, second) if role == _PARTS else [*zip(ours, theirs, strict=False)]
        yield from dict.fromkeys((one, other) for one, other in pairs if one != other and one.kind == other.kind)


def _by_shard(first: Side, second: Side) -> list[Pair]:
    """The parts of two sets that are of one shard; by place, where the sets do not say of which."""
    ours, theirs = first.parts_by_shard, second.parts_by_shard
    if ours is None or theirs is None:
        return [*zip(first.artifacts.get(_PARTS, []), second.artifacts.get(_PARTS, []), strict=False)]
    return [(part, theirs[shard]) for shard, part in ours.items() if shard in theirs]
