"""`uwm lineage show`: all that is behind an artifact or a run."""

from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_specs.errors import ArtifactError, SpecError
from flows.commands.options import DEFAULT_STORE, REFERENCE_HELP, JsonOption, StoreOption

if TYPE_CHECKING:
    from tasks.lineage.store import Store

NeededReference = Annotated[str, typer.Argument(metavar="REF", help=REFERENCE_HELP)]


def show(
    reference: NeededReference,
    settings: Annotated[bool, typer.Option("--settings", help="With the settings of each artifact.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a Mermaid diagram, for Markdown.")] = False,
    store: StoreOption = DEFAULT_STORE,
    json: JsonOption = False,
) -> None:
    """Show what an artifact, or all that a run made, was made of, down to shards and weights."""
    from flows.references import find_reference
    from tasks.lineage.store import Store
    from tasks.tracing.drawing import as_json, mermaid_lines, text_lines
    from tasks.tracing.edges import Edges
    from tasks.tracing.graph import lineage_graph
    from tasks.tracing.index import open_index

    if json and mermaid:
        raise SpecError("--json and --mermaid are two forms of one answer; give one of them")
    opened = Store(store)
    root = _run_of_id(opened, reference) or find_reference(opened, reference)
    graph = lineage_graph(opened, Edges(open_index(opened.root)), root)
    if json:
        typer.echo(dumps(as_json(graph)))
    else:
        for line in mermaid_lines(graph) if mermaid else text_lines(graph, settings=settings):
            typer.echo(line)
    if graph.problems:
        raise ArtifactError(f"{len(graph.problems)} artifacts are missing or broken, the first: {graph.problems[0]}")


def _run_of_id(store: "Store", reference: str) -> "dict[str, Any] | None":
    """The record of the run whose whole id this is: an id without a role stands for all that the run made."""
    from tasks.lineage.runs import run_records

    return next((record for record in run_records(store.root) if record.get("id") == reference), None)
