"""A lineage as lines of text, as JSON and as a Mermaid diagram."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from data_specs.manifest import OBSERVATION
from data_specs.wording import last_part, printable, shortened
from tasks.lineage.runs import dotted_settings
from tasks.tracing.graph import PARTS, Graph, Thing

_ID_CHARS, _SETTING_CHARS = 16, 120
_MOST_DRAWN = 8


def text_lines(graph: Graph, *, settings: bool = False) -> Iterator[str]:
    """A thing and, indented below it, what it was made of; what stands above already is not told again.

    Args:
        graph: from `lineage_graph`.
        settings: whether to tell those of each artifact, too.
    """
    told: set[str] = set()

    def lines(role: str, thing: Thing, depth: int) -> Iterator[str]:
        indent, again = "  " * depth, thing.id in told
        told.add(thing.id)
        below = [*graph.below(thing.id)]
        yield f"{indent}{role}: {_line(thing)}{' (see above)' if again and below else ''}"
        if again:
            return
        if settings:
            for name, value in dotted_settings(dict(thing.settings)):
                yield shortened(f"{indent}  - {name} = {value}", len(indent) + _SETTING_CHARS)
        parts = {of.id: part.id for role, part in below if role == PARTS for _, of in graph.below(part.id)}
        for own, other in below:
            if own != PARTS:
                part = f" (part {parts[other.id][:_ID_CHARS]})" if other.id in parts else ""
                yield from (line + (part if n == 0 else "") for n, line in enumerate(lines(own, other, depth + 1)))

    root = graph.root
    return map(printable, lines("run" if root.form == "run" else "made", root, 0))


def _line(thing: Thing) -> str:
    when = f" {thing.made[:19]}" if thing.made else ""
    where = f" {thing.location}" if thing.location else ""
    what = "sha256" if thing.form in ("digest", "shard", "weights") else thing.kind or thing.form
    id = thing.id if thing.form == "run" else thing.id[:_ID_CHARS]
    broken = f" BROKEN: {thing.problem}" if thing.problem else ""
    dropped = " (files dropped)" if thing.pruned else ""
    # What an endpoint answered: the same recipe may come to something else another time.
    observed = " (an observation)" if OBSERVATION in thing.settings else ""
    return f"{what} {id}{when}{where}{observed}{dropped}{broken}"


def as_json(graph: Graph) -> dict[str, Any]:
    """Things with whole digests and settings, and what was made of what."""
    return {
        "root": graph.root.id,
        "things": [_without_nothing(asdict(thing)) for thing in graph.things.values()],
        "made_of": [
            {"made": made, "role": role, "of": of} for made, below in graph.edges.items() for role, of in below
        ],
    }


def _without_nothing(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value not in (None, {})}


def mermaid_lines(graph: Graph) -> Iterator[str]:
    """A flow chart from shards and weights to what was asked for; many shards of one artifact are one box."""
    names: dict[str, str] = {}

    def box(id: str, text: str, form: str) -> Iterator[str]:
        if id not in names:
            names[id] = f"n{len(names)}"
            left, right = {"artifact": ("[", "]"), "run": ("{{", "}}")}.get(form, ("[/", "/]"))
            yield f'  {names[id]}{left}"{_escaped(text)}"{right}'

    yield "flowchart LR"
    drawn = {graph.root.id: graph.root}
    pending = [graph.root]
    while pending:
        thing = pending.pop(0)
        yield from box(thing.id, _box_text(thing), thing.form)
        below = [(role, other) for role, other in graph.below(thing.id) if role != PARTS]
        shards = [other for _, other in below if other.form == "shard"]
        if len(shards) > _MOST_DRAWN:
            many = f"{thing.id} shards"
            yield from box(many, f"{len(shards)} shards, {_box_text(shards[0])} to {_box_text(shards[-1])}", "shard")
            yield f"  {names[many]} --> {names[thing.id]}"
            below = [(role, other) for role, other in below if other.form != "shard"]
        for role, other in below:
            yield from box(other.id, _box_text(other), other.form)
            yield f'  {names[other.id]} -- "{_escaped(role)}" --> {names[thing.id]}'
            if other.id not in drawn:
                drawn[other.id] = other
                pending.append(other)


def _box_text(thing: Thing) -> str:
    name = last_part(thing.location) if thing.location else thing.kind or thing.form
    return f"{name} {thing.id if thing.form == 'run' else thing.id[:8]}"


def _escaped(text: str) -> str:
    # Mermaid reads entities within quotes, and nothing else there.
    return "".join(
        character if character.isalnum() or character in " ._-/:," else f"#{ord(character)};"
        for character in printable(text)
    )
