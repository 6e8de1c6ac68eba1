"""`uwm lineage diff`: why two numbers differ."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_specs.manifest import VERSION_PATTERN
from data_specs.wording import printable, shortened
from flows.commands.options import DEFAULT_STORE, REFERENCE_HELP, JsonOption, StoreOption

if TYPE_CHECKING:
    from data_specs.manifest import ArtifactRef
    from tasks.tracing.divergence import Divergence

_MEASURED = ("evaluation.edited",)
_ID_CHARS, _VALUE_CHARS = 12, 80
_HELP = f"{REFERENCE_HELP} Of a run it is the evaluation of its edited model."


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=_HELP)],
    second: Annotated[str, typer.Argument(metavar="B", help="The other one, of the same kind.")],
    store: StoreOption = DEFAULT_STORE,
    json: JsonOption = False,
) -> None:
    """Walk down from two numbers to the first things that differ, and say what followed from each; nothing where nothing does."""
    from flows.references import find_reference
    from tasks.lineage.runs import MAIN_ROLES
    from tasks.lineage.store import Store
    from tasks.tracing.divergence import find_divergences
    from tasks.tracing.edges import Edges
    from tasks.tracing.index import open_index

    opened = Store(store)
    one, other = (find_reference(opened, named, (*_MEASURED, *MAIN_ROLES)) for named in (first, second))
    found = find_divergences(opened, Edges(open_index(opened.root)), one, other)
    if json:
        typer.echo(dumps([_as_json(item) for item in found]))
    else:
        for item in found:
            for line in divergence_lines(item):
                typer.echo(printable(line))


def divergence_lines(item: "Divergence") -> list[str]:
    """What differs, where it does first, and what followed."""
    differing = item.differing
    lines = [f"{differing.what} {differing.name}: {_value(differing.first)} -> {_value(differing.second)}"]
    lines.append(f"  first in {_counted(item.where)}")
    if item.followed:
        lines.append(f"  followed by {_counted(item.followed)}")
    return lines


def _value(value: str | None) -> str:
    if value is None:
        return "nothing"
    return value[:_ID_CHARS] if re.fullmatch(VERSION_PATTERN, value) else shortened(value, _VALUE_CHARS)


def _counted(pairs: "Sequence[tuple[ArtifactRef, ArtifactRef]]") -> str:
    """Pairs by kind: one with its versions, several with their number."""
    n_of = Counter(one.kind for one, _ in pairs)
    told = {}
    for one, other in pairs:
        versions = f"{one.version[:_ID_CHARS]} -> {other.version[:_ID_CHARS]}"
        told[one.kind] = f"{one.kind} {versions}" if n_of[one.kind] == 1 else f"{n_of[one.kind]} {one.kind}"
    return ", ".join(told.values())


def _as_json(item: "Divergence") -> dict[str, Any]:
    def pairs(listed: "Sequence[tuple[ArtifactRef, ArtifactRef]]") -> list[dict[str, str]]:
        return [{"kind": one.kind, "first": one.version, "second": other.version} for one, other in listed]

    return {**asdict(item.differing), "where": pairs(item.where), "followed": pairs(item.followed)}
