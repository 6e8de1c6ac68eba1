"""A night on the screen: a row a model and set, and what each gate came to."""

from typing import TYPE_CHECKING

from data_specs.metrics import ZERO_SHOT, find_metric
from data_specs.night import Measured, Night
from flows.commands.console import output

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = ("GS", "PS", ZERO_SHOT)
_COLOURS = {"pass": "green", "fail": "bold red", "unsure": "yellow", "not_comparable": "yellow"}
_WORDS = {"not_comparable": "not comparable"}


def show_night(night: Night) -> None:
    """Print a night: figures, gates with their sentences, and who was told."""
    output.print(_figures(night))
    if any(item.gates for item in night.measured):
        output.print(_gates(night))
    for item in night.measured:
        if item.error is not None:
            output.print(f"not measured: {item.model} on {item.set}: {item.error}")
    for told in night.told:
        output.print(told)
    n_computed, n_reused = (sum(getattr(item, name) for item in night.measured) for name in ("computed", "reused"))
    came_to = _WORDS.get(night.outcome or "", night.outcome or f"{night.status}, no result")
    output.print(f"night {night.id} of {night.watch}: {came_to}; {n_computed} artifacts computed, {n_reused} reused")


def _figures(night: Night) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model @ set", overflow="fold")
    for heading in ("pairs", *_COLUMNS):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("new", overflow="fold")
    for item in night.measured:
        n_pairs = "" if item.n_pairs is None else f"{item.n_pairs:,}"
        new = f"{len(item.shards_added)} shards" if item.shards_added else ""
        if not item.computed and item.status == "completed":
            new = "nothing"
        cells = [n_pairs, *(_figure(item, metric) for metric in _COLUMNS), new]
        table.add_row(Text(f"{item.model} @ {item.set}"), *map(Text, cells))
    table.caption, table.caption_justify = Text("percent; brackets: 95 % intervals", style="dim"), "left"
    return table


def _figure(item: Measured, metric: str) -> str:
    if metric not in item.figures:
        return ""
    about, bounds = find_metric(metric), item.intervals.get(metric)
    interval = f"\n[{about.shown(bounds[0])}, {about.shown(bounds[1])}]" if bounds else ""
    return f"{about.shown(item.figures[metric])}{interval}"


def _gates(night: Night) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("gate", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("why", overflow="fold")
    for item in night.measured:
        for result in item.gates:
            outcome = Text(_WORDS.get(result.outcome, result.outcome), style=_COLOURS[result.outcome])
            table.add_row(Text(f"{item.model} @ {item.set}\n{result.gate.name}"), outcome, Text(result.sentence))
    return table
