"""Comparisons, sweeps and ablations as tables for a terminal."""

import re
from collections.abc import Sequence
from dataclasses import replace

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from data_specs.ablation import Ablation
from data_specs.comparison import NOT_MEASURED, Cell, Comparison, shown
from data_specs.metrics import ZERO_SHOT
from data_specs.sweep import Sweep, SweepPoint

WIDTH = 100
# Two columns of space and a line stand between cells.
_GAP = 3
_FEW_MODELS = 4
_WIDEST_NAME, _WIDEST_FIGURE = 22, len("100.0***")
# The longest part of a name that stays in one piece.
_WORD = 16
_SWEEP_METRICS = (ZERO_SHOT, "Vs-Ts", "Txt_s", "Img_s", "PS", "GS")
_ABLATION_METRICS = (ZERO_SHOT, "Ts-Vs", "Txt_s", "Img_s", "PS", "GS")
_ROLE_STYLES = {"original": "bold", "method": "", "control": "dim", "paper": "italic"}


def comparison_table(comparison: Comparison, width: int = WIDTH) -> Table:
    """Few models: a row a metric and a column a model, with intervals. Many: a row a model, without.

    Columns that do not fit go into further blocks.

    Args:
        comparison: rows in table order.
        width: columns of the terminal.
    """
    blocks = Table.grid()
    notes = comparison.notes()
    if len(comparison.rows) <= _FEW_MODELS:
        for positions in _blocks(comparison, width):
            blocks.add_row(_block(comparison, positions))
    else:
        for columns in _column_blocks(comparison, width):
            blocks.add_row(_model_block(comparison, columns))
        notes = [note for note in notes if not note.startswith("Brackets")] + ["Intervals are in the files."]
    blocks.add_row(Group(*(Text(note, style="dim") for note in notes)))
    blocks.title = Text(comparison.name, style="bold")
    blocks.title_justify = "left"
    return blocks


def sweep_table(sweep: Sweep, width: int = WIDTH) -> Table:
    """A row a point: the figures of the paper's figure 5 with points against the original; all others are in the CSV."""
    metrics = [metric for metric in _SWEEP_METRICS if metric in sweep.original]
    table = _table(f"{sweep.name}: sweep of {' and '.join(sweep.encoders)}, {sweep.n_pairs:,} pairs, percent")
    table.add_column(Text("tau"), justify="right", min_width=len("original"))
    for name in ("alpha", "weights", *metrics):
        table.add_column(Text(name), justify="right", no_wrap=True)
    table.add_row("original", "", "0", *(shown(sweep.original[metric]) for metric in metrics), end_section=True)
    for position, point in enumerate(sweep.points):
        last_of_alpha = [other.alpha for other in sweep.points[position : position + 2]] != [point.alpha] * 2
        chosen = position == sweep.chosen
        tau = f"{'★ ' if chosen else ''}{point.tau:g}"
        between = " " if width >= WIDTH else "\n"
        cells = [_against_original(sweep, point, metric, between) for metric in metrics]
        style = "bold" if chosen else ""
        table.add_row(tau, f"{point.alpha:g}", f"{point.n_selected:,}", *cells, style=style, end_section=last_of_alpha)
    if sweep.limits:
        found = "★ keeps" if sweep.chosen is not None else "no point keeps"
        table.caption = Text(f"{found} {', '.join(sweep.limits)} (points against the original)")
    return table


def ablation_table(ablation: Ablation) -> Table:
    """A row a point with the main figures, the best in bold; all others are in the CSV."""
    metrics = [metric for metric in _ABLATION_METRICS if metric in ablation.original]
    best = {
        metric: max((shown(row.values[metric]) for row in ablation.rows if metric in row.values), key=float, default="")
        for metric in metrics
    }
    table = _table(f"{ablation.name}: ablation, {ablation.n_pairs:,} pairs, percent")
    table.add_column("method", overflow="fold")
    for metric in metrics:
        table.add_column(Text(metric), justify="right", no_wrap=True, min_width=max(5, len(metric)))
    table.add_row("original", *(shown(ablation.original[metric]) for metric in metrics), end_section=True)
    for row in ablation.rows:
        figures = {metric: shown(row.values[metric]) for metric in metrics if metric in row.values}
        cells = [
            Text(figures.get(metric, NOT_MEASURED), "bold green" if figures.get(metric) == best[metric] else "")
            for metric in metrics
        ]
        table.add_row(Text(row.point.label), *cells)
    if ablation.left_out:
        table.caption = Text("\n".join(f"left out: {item.label}: {item.reason}" for item in ablation.left_out))
    return table


def _table(title: str) -> Table:
    return Table(
        title=Text(title, style="bold"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )


def _blocks(comparison: Comparison, width: int) -> list[list[int]]:
    """Positions of the rows in each block; the first row stands in all of them."""
    names = max(len(column) for column in ["metric", *comparison.columns]) + _GAP
    widths = [_width(comparison, position) + _GAP for position in range(len(comparison.rows))]
    blocks: list[list[int]] = [[0]]
    for position in range(1, len(comparison.rows)):
        taken = names + sum(widths[other] for other in blocks[-1])
        if len(blocks[-1]) > 1 and taken + widths[position] > width:
            blocks.append([0])
        blocks[-1].append(position)
    return blocks


def _width(comparison: Comparison, position: int) -> int:
    cells = [_text(comparison.cell(position, column)).plain for column in comparison.columns]
    figures = max((len(line) for cell in cells for line in cell.split("\n")), default=1)
    return max(figures, *(len(piece) for piece in _pieces(comparison.rows[position].name)))


def _pieces(name: str) -> list[str]:
    """A name's words, each with the mark behind it; a very long one is cut."""
    words = [word for word in re.split(r"(?<=[_.\- ])", name) if word] or [""]
    return [word[start : start + _WORD] for word in words for start in range(0, len(word) or 1, _WORD)]


def _header(name: str, width: int) -> str:
    lines = [""]
    for piece in _pieces(name):
        if len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _block(comparison: Comparison, positions: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric", no_wrap=True)
    for position in positions:
        row, width = comparison.rows[position], _width(comparison, position)
        header = Text(_header(row.name, width), style=_ROLE_STYLES[row.role])
        table.add_column(header, justify="right", min_width=width, overflow="fold")
    for column in comparison.columns:
        table.add_row(Text(column), *(_text(comparison.cell(position, column)) for position in positions))
    return table


def _column_blocks(comparison: Comparison, width: int) -> list[list[str]]:
    names = min(_WIDEST_NAME, max(len(row.name) for row in comparison.rows))
    blocks: list[list[str]] = [[]]
    left = width - names - _GAP
    for column in comparison.columns:
        needed = max(len(column), _WIDEST_FIGURE) + _GAP
        if blocks[-1] and needed > left:
            blocks.append([])
            left = width - names - _GAP
        blocks[-1].append(column)
        left -= needed
    return blocks


def _model_block(comparison: Comparison, columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", max_width=_WIDEST_NAME, overflow="fold")
    for column in columns:
        table.add_column(Text(column), justify="right", no_wrap=True)
    for position, row in enumerate(comparison.rows):
        cells = [_text(replace(comparison.cell(position, column), interval="")) for column in columns]
        table.add_row(Text(row.name, style=_ROLE_STYLES[row.role]), *cells)
    return table


def _text(cell: Cell) -> Text:
    text = Text(cell.figure, style="bold green" if cell.best else "")
    text.append(cell.mark, style="not bold")
    if cell.interval:
        text.append(f"\n{cell.interval}", style="not bold dim")
    return text


def _against_original(sweep: Sweep, point: SweepPoint, metric: str, between: str) -> Text:
    if metric not in point.values:
        return Text(NOT_MEASURED)
    difference = sweep.difference(point, metric)
    text = Text(shown(point.values[metric]))
    return text.append(
        f"{between}{difference:+.1f}", style="green" if difference > 0 else "red" if difference < 0 else "dim"
    )
