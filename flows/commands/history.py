"""`uwm history`: figures over time, with what changed, what gates said, and the nights that left no result."""

from dataclasses import dataclass
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.errors import SpecError
from data_specs.wording import printable, reason, shown_path
from flows.commands.options import DEFAULT_STORE, JsonOption, StoreOption, grouped

if TYPE_CHECKING:
    from data_specs.history import History


@dataclass(frozen=True)
class Asked:
    """Which part of the history."""

    on: Annotated[str, typer.Option("--set", metavar="SET", help="Only this set of a watch, or shards so named.")] = ""
    since: Annotated[str, typer.Option("--since", metavar="DATE", help="Only from then on (UTC).")] = ""
    watch: Annotated[str, typer.Option("--watch", metavar="NAME", help="Only the nights of this watch.")] = ""
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="METRIC", help="What is shown, default GS; may be given several times."),
    ] = None


@grouped
def history(
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="Its name in a watch, or that of a run, or a part of either.")
    ] = "",
    asked: Asked = Asked(),
    store: StoreOption = DEFAULT_STORE,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV on standard output, every metric.")] = False,
    json: JsonOption = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.svg", help="Draw it, too, with intervals and marks.")
    ] = None,
) -> None:
    """Show what every model measured on every set over time, and which nights have no result."""
    from data_specs.caption_metrics import find_figure
    from flows.commands.history_table import history_csv, history_lines
    from flows.nightly.looking_back.history import HistoryFilter, history_of
    from flows.nightly.looking_back.slides import with_slides
    from flows.results import first_moment

    if plot is not None and plot.suffix != ".svg":
        raise SpecError(f"--plot {shown_path(plot)} is no SVG; give a name that ends with .svg")
    metrics = [find_figure(name).name for name in asked.metric or ("GS",)]
    first = first_moment(asked.since) if asked.since else None
    found = history_of(Path(store), HistoryFilter(model, asked.on, asked.watch, first), datetime.now(UTC))
    found = with_slides(Path(store), found, metrics)
    if json:
        typer.echo(dumps(found.model_dump(mode="json")))
    elif csv:
        typer.echo(history_csv(found), nl=False)
    else:
        for line in history_lines(found, metrics):
            typer.echo(line)
    if plot is not None:
        _draw(found, metrics, plot)
    for remark in [*found.remarks, *([] if found.rows else [f"nothing was measured in store {store} so far"])]:
        typer.echo(printable(remark), err=True)


def _draw(found: "History", metrics: list[str], place: Path) -> None:
    from tasks.reporting.history_plot import history_svg

    try:
        place.write_text(history_svg(found, metrics), encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {shown_path(place)}: {reason(error)}") from error
    typer.echo(str(place), err=True)
