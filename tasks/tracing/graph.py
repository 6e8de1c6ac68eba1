"""All that is behind an artifact or a run, down to shards and weights, read from the manifests themselves."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef
from data_specs.wording import one_line
from tasks.lineage.contents import is_pruned
from tasks.lineage.store import Store
from tasks.tracing.edges import Edges, Input
from tasks.tracing.rows import input_rows

ThingForm = Literal["run", "artifact", "shard", "weights", "digest"]
PARTS = "parts"
_SHARDS = "shards"
_OF_WEIGHTS = ("encoder", "model")
_BASE = "base_model"


@dataclass(frozen=True)
class Thing:
    """What stands in a lineage: a run, an artifact, or something from outside by its digest."""

    id: str  # of a run its id, of an artifact its version, else a SHA-256
    form: ThingForm
    kind: str | None = None
    made: str | None = None  # ISO 8601, UTC
    location: str | None = None  # where it lay, as what was made of it says
    settings: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None
    pruned: bool | None = None  # whether its files were dropped, so that only its manifest is there


@dataclass
class Graph:
    """Things by id, that which was asked for first, and what each was made of, by role and in the order of the recipes."""

    things: dict[str, Thing] = field(default_factory=dict)
    edges: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @property
    def root(self) -> Thing:
        """What was asked for."""
        return next(iter(self.things.values()))

    def below(self, id: str) -> Iterator[tuple[str, Thing]]:
        """What a thing was made of, by role."""
        return ((role, self.things[of]) for role, of in self.edges.get(id, ()))

    @property
    def problems(self) -> list[str]:
        """What is wrong with artifacts of it."""
        return [thing.problem for thing in self.things.values() if thing.problem]

    def link(self, made: str, role: str, thing: Thing) -> None:
        """Say that a thing was made of another; of a thing that is there, what is not known yet is taken over."""
        known = self.things.setdefault(thing.id, thing)
        if known.location is None and thing.location is not None:
            self.things[thing.id] = replace(known, location=thing.location, form=thing.form)
        self.edges.setdefault(made, []).append((role, thing.id))


def lineage_graph(store: Store, edges: Edges, root: ArtifactRef | Mapping[str, Any]) -> Graph:
    """What is behind an artifact, or behind all that a run made.

    Args:
        store: holds them.
        edges: of the same store; say which model a digest stands for where a manifest does not.
        root: the artifact, or the record of the run.

    Returns:
        The graph; artifacts that are missing or broken stand in it with their problem.
    """
    walk = _Walk(store, edges)
    if isinstance(root, ArtifactRef):
        walk.visit(root)
    else:
        walk.visit_run(root)
    return walk.graph


class _Walk:
    def __init__(self, store: Store, edges: Edges) -> None:
        self._store, self._edges = store, edges
        self.graph = Graph()
        self._base: str | None = None  # where the weights lay of artifacts that do not say so themselves

    def visit(self, ref: ArtifactRef) -> None:
        pending = [ref]
        visited: set[str] = set()
        while pending:
            current = pending.pop()
            if current.version in visited:
                continue
            visited.add(current.version)
            pending += self._look(current)
        self._place_weights()

    def visit_run(self, record: Mapping[str, Any]) -> None:
        run = Thing(
            str(record["id"]), "run", record["settings"]["name"], record.get("ended"), settings=record["settings"]
        )
        self.graph.things[run.id] = run
        for role, version in (record.get("artifacts") or {}).items():
            try:
                ref = self._store.find(version)
            except ArtifactError as error:
                self.graph.link(run.id, role, Thing(version, "artifact", problem=one_line(str(error))))
                continue
            self.graph.link(run.id, role, Thing(version, "artifact", ref.kind))
            self.visit(ref)

    def _look(self, ref: ArtifactRef) -> list[ArtifactRef]:
        """Put an artifact into the graph; returns those that it was made of."""
        thing = Thing(ref.version, "artifact", ref.kind)
        try:
            manifest = self._store.manifest(ref)
        except ArtifactError as error:
            self.graph.things[ref.version] = replace(thing, problem=one_line(str(error)))
            return []
        settings = dict(manifest.recipe.settings)
        pruned = is_pruned(self._store.path(ref)) or None
        self.graph.things[ref.version] = replace(
            thing, made=manifest.circumstances.ended, settings=settings, pruned=pruned
        )
        self.graph.edges.pop(ref.version, None)
        told = manifest.model_dump(mode="json")
        inputs = [
            found
            for row in input_rows(told)
            for found in self._chosen(ref.kind, Input(row[0], row[1], row[2], row[3], row[5]))
        ]
        inputs += self._of_parts(inputs)
        base = self._note_base(told)
        locations = {source.sha256: source.location for source in manifest.sources}
        above: list[ArtifactRef] = []
        for item in inputs:
            if item.kind is None or item.version is None:
                self.graph.link(ref.version, item.role, _from_outside(item, locations, base))
            else:
                self.graph.link(ref.version, item.role, Thing(item.version, "artifact", item.kind))
                if item.role != PARTS:
                    above.append(ArtifactRef(kind=item.kind, version=item.version))
        self._link_parts(inputs, locations)
        return above[::-1]

    def _chosen(self, kind: str, item: Input) -> list[Input]:
        """An input; where several edits left the same encoder, with those that stand in the graph, else with the first."""
        found = self._edges.with_models(kind, item)
        return [each for each in found if each.version in self.graph.things] or found[:1]

    def _of_parts(self, inputs: list[Input]) -> list[Input]:
        """What the parts of a set were made of beside their shards: the one encoder."""
        parts = [item for item in inputs if item.role == PARTS and item.version is not None]
        found = {}
        for part in parts:
            for item in self._edges.as_recorded(part.version or ""):
                if item.role != "shard":
                    found[item.role, item.sha256, item.version] = self._chosen(part.kind or "", item)
        return [item for chosen in found.values() for item in chosen]

    def _link_parts(self, inputs: list[Input], locations: Mapping[str, str]) -> None:
        """A set names its shards beside its parts, so that thousands of manifests need not be read."""
        parts = [item for item in inputs if item.role == PARTS]
        shards = [item for item in inputs if item.role == _SHARDS]
        if len(parts) == len(shards):
            for part, shard in zip(parts, shards, strict=True):
                if part.version is not None and part.version not in self.graph.edges:
                    self.graph.link(part.version, "shard", _from_outside(shard, locations))

    def _note_base(self, told: Mapping[str, Any]) -> str | None:
        """Where the weights lay that an artifact is of; None where it does not say so, or was made with several models."""
        places = [source["location"] for source in told.get("weights", [])] or [told["counts"].get(_BASE)]
        own = [str(place) for place in places if place]
        self._base = self._base or next(iter(own), None)
        return own[0] if len(own) == 1 else None

    def _place_weights(self) -> None:
        for thing in [*self.graph.things.values()]:
            if thing.form == "weights" and thing.location is None:
                self.graph.things[thing.id] = replace(thing, location=self._base)


def _from_outside(item: Input, locations: Mapping[str, str], base: str | None = None) -> Thing:
    digest = item.sha256 or ""
    if digest in locations:
        return Thing(digest, "shard", location=locations[digest])
    return Thing(digest, "weights", location=base) if item.role in _OF_WEIGHTS else Thing(digest, "digest")
