"""`uwm results`: one table over all runs of a store."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_specs.caption_metrics import UNSAFE_SHARE, find_caption_metric
from data_specs.metrics import ZERO_SHOT, find_metric
from data_specs.wording import printable
from flows.commands.options import DEFAULT_STORE, JsonOption, StoreOption
from flows.results import ResultRow, Results, records_like, results_of, shown_setting

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = ("GS", "PS", ZERO_SHOT)
_UNSAFE = f"{UNSAFE_SHARE}.unsafe."
_STATED = ("run", "what", "model", "data", "started", "id")


def results(
    store: StoreOption = DEFAULT_STORE,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Only runs whose name holds this.")] = "",
    model: Annotated[
        str, typer.Option("--model", metavar="TEXT", help="Only those whose architecture or weights hold this.")
    ] = "",
    since: Annotated[str, typer.Option("--since", metavar="DATE", help="Only those begun then or later (UTC).")] = "",
    csv: Annotated[
        bool, typer.Option("--csv", help="As CSV on standard output, every differing setting a column.")
    ] = False,
    json: JsonOption = False,
    send: Annotated[
        str,
        typer.Option(
            "--send", metavar="HOOK", help="Give the completed runs' records to mlflow, or to a MODULE:FUNCTION."
        ),
    ] = "",
) -> None:
    """Show what all runs of a store measured, from the records that they left."""
    from flows.commands.console import output

    if send:
        _send(send, records_like(Path(store), name=name, model=model, since=since))
        return
    found = results_of(Path(store), name=name, model=model, since=since)
    if json:
        typer.echo(dumps({"rows": [asdict(row) for row in found.rows], "unfinished": found.unfinished}))
    elif csv:
        typer.echo(_csv(found), nl=False)
    elif found.rows:
        output.print(results_table(found))
    for line in _notes(found, Path(store)):
        typer.echo(printable(line), err=True)


def _send(name: str, records: list[dict[str, Any]]) -> None:
    from flows.trackers import find_hook

    hook = find_hook(name)
    # The oldest first, as they would have come one by one.
    sent = [record for record in reversed(records) if record["status"] == "completed"]
    for record in sent:
        hook(record)
    typer.echo(f"sent {len(sent)} records")


def results_table(found: Results) -> "Table":
    """A row a model, intervals below figures; what is the same in all rows stands once, above."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    differing = found.differing()
    same = {part: {getattr(row, part) for row in found.rows} for part in ("model", "data")}
    title = ", ".join(f"{part} {next(iter(values))}" for part, values in same.items() if len(values) == 1)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(title, style="dim"), title_justify="left")
    table.add_column("run", overflow="fold")
    metrics = [*_COLUMNS, *_of_captions(found)]
    for metric in metrics:
        # Of captions the names are long: on two lines.
        table.add_column(metric.replace(".unsafe.", "\n.unsafe."), justify="right", no_wrap=True)
    table.add_column("begun, UTC", no_wrap=True)
    for row in found.rows:
        lines = [row.what, *(getattr(row, part) for part, values in same.items() if len(values) > 1)]
        lines += [f"{setting} {shown_setting(row, setting)}" for setting in differing if setting in row.settings]
        head = Text(f"{row.run}\n").append("\n".join(lines), style="dim")
        figures = [_figure(row, metric) for metric in metrics]
        table.add_row(head, *map(Text, figures), Text(f"{row.started[:10]}\n{row.started[11:16]}"))
    table.caption, table.caption_justify = Text("percent; brackets: 95 % intervals", style="dim"), "left"
    return table


def _of_captions(found: Results) -> list[str]:
    """What judges say of captions of unsafe pictures."""
    return sorted({name for row in found.rows for name in row.figures if name.startswith(_UNSAFE)})


def _figure(row: ResultRow, metric: str) -> str:
    if metric not in row.figures:
        return ""
    about = find_caption_metric(metric) if metric.startswith(_UNSAFE) else find_metric(metric)
    low_high = row.intervals.get(metric)
    interval = f"\n[{about.shown(low_high[0])}, {about.shown(low_high[1])}]" if low_high else ""
    return f"{about.shown(row.figures[metric])}{interval}"


def _csv(found: Results) -> str:
    differing = found.differing()
    metrics = list(dict.fromkeys([*_COLUMNS, *(name for row in found.rows for name in row.figures)]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    of_metrics = [f"{metric}{part}" for metric in metrics for part in ("", "_low", "_high")]
    writer.writerow([*_STATED, *differing, *of_metrics])
    for row in found.rows:
        stated = [getattr(row, part) for part in _STATED]
        settings = [shown_setting(row, name) for name in differing]
        writer.writerow([*stated, *settings, *(value for metric in metrics for value in _values(row, metric))])
    return text.getvalue()


def _values(row: ResultRow, metric: str) -> Sequence[float | str]:
    return [row.figures.get(metric, ""), *row.intervals.get(metric, ("", ""))]


def _notes(found: Results, store: Path) -> list[str]:
    lines = [] if found.rows else [f"no completed run in store {store} is so; --store names another"]
    if found.n_repeated:
        lines.append(f"{found.n_repeated} rows of older runs that measured the same models are left out")
    if found.unfinished:
        told = ", ".join(f"{n} {status}" for status, n in sorted(found.unfinished.items()))
        lines.append(f"runs that did not come to their end: {told}")
    return lines
