"""`uwm lineage sql`: any question about a store."""

import io
import math
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_specs.errors import SpecError
from data_specs.wording import printable
from flows.commands.options import DEFAULT_STORE, JsonOption, StoreOption

if TYPE_CHECKING:
    from rich.table import Table


def sql(
    query: Annotated[
        str,
        typer.Argument(
            metavar="SELECT", help='One SELECT of DuckDB\'s, such as "SELECT kind, count(*) FROM artifacts GROUP BY 1".'
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV on standard output.")] = False,
    json: JsonOption = False,
) -> None:
    """Answer a SELECT over all manifests, runs and tags; nothing else can be read, nothing changed."""
    from flows.commands.console import output
    from tasks.lineage.place import open_root
    from tasks.tracing.tables import answer

    if csv and json:
        raise SpecError("--csv and --json are two forms of one answer; give one of them")
    found = answer(open_root(store), query)
    names: Sequence[str] = found.column_names
    rows = [
        [_plain(value) for value in row] for row in zip(*(column.to_pylist() for column in found.columns), strict=True)
    ]
    if json:
        typer.echo(dumps([dict(zip(names, row, strict=True)) for row in rows], allow_nan=False))
    elif csv:
        typer.echo(_csv(names, rows), nl=False)
    else:
        output.print(_table(names, rows))


def _plain(value: Any) -> Any:
    """A value as JSON has it; null for what is no number, and text for what JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return value if value is None or isinstance(value, str | int) else str(value)


def _csv(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    import csv

    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_shown(value) for value in row] for row in rows)
    return text.getvalue()


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else dumps(value)


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in names:
        table.add_column(Text(printable(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(_shown(value))) for value in row))
    return table
