"""An experiment as a table for a terminal."""

import re
from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from data_specs.experiment import Experiment, Row
from data_specs.metrics import find_metric
from tasks.tables.cells import Cell, cell, chance_cells, measured_in, notes
from tasks.tables.kinds import KINDS

WIDTH = 100
# Two columns of space and a line stand between cells.
_GAP = 3
_FEW_MODELS = 4
_WIDEST_NAME, _WIDEST_FIGURE = 22, len("100.0***")
# The longest part of a name that stays in one piece.
_WORD = 16
_ROLE_STYLES = {"original": "bold", "method": "", "control": "dim", "paper": "italic"}


def experiment_table(experiment: Experiment, width: int = WIDTH) -> Table:
    """Few models: a row a metric and a column a model, with intervals. Else a row a model or point, without.

    Of a comparison all columns are shown, those that do not fit in further blocks; of a sweep or an
    ablation the main ones, and of a sweep with points against the original: all others are in the CSV.

    Args:
        experiment: rows in table order.
        width: columns of the terminal.
    """
    if experiment.kind != "comparison":
        return _points_table(experiment, width)
    blocks = Table.grid()
    told = notes(experiment)
    if len(experiment.rows) <= _FEW_MODELS:
        for positions in _blocks(experiment, width):
            blocks.add_row(_block(experiment, positions))
    else:
        for columns in _column_blocks(experiment, width):
            blocks.add_row(_model_block(experiment, columns))
        told = [note for note in told if not note.startswith("Brackets")] + ["Intervals are in the files."]
    blocks.add_row(Group(*(Text(note, style="dim") for note in told)))
    blocks.title = Text(experiment.name, style="bold")
    blocks.title_justify = "left"
    return blocks


def brief_columns(experiment: Experiment) -> list[str]:
    """The metrics of a table that shows little: those of the paper's figures, and whatever is not of pairs or images."""
    brief = KINDS[experiment.kind].brief
    return [name for name in experiment.columns if name in brief or find_metric(name).of == "caption"]


def _points_table(experiment: Experiment, width: int) -> Table:
    kind, columns = KINDS[experiment.kind], brief_columns(experiment)
    is_sweep = experiment.kind == "sweep"
    title = kind.title.format(encoders=" and ".join(experiment.encoders))
    table = Table(
        title=Text(f"{experiment.name}: {title}, {experiment.n_pairs:,} pairs, percent", style="bold"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    if is_sweep:
        first, *others = experiment.axes
        table.add_column(Text(first.replace("_", " ")), justify="right", min_width=len("original"))
        for name in (*(axis.replace("_", " ") for axis in others), "weights"):
            table.add_column(Text(name), justify="right", no_wrap=True)
    else:
        table.add_column("method", overflow="fold")
    for name in columns:
        table.add_column(Text(name), justify="right", no_wrap=True, min_width=None if is_sweep else max(5, len(name)))

    def at_top(position: int) -> bool:
        return position == 0 and bool(experiment.chance)

    for position, row in enumerate(experiment.rows):
        chosen = is_sweep and position > 0 and position - 1 == experiment.chosen
        following = experiment.rows[position + 1 : position + 2]
        # A line stands below the original and between the lines of the figure.
        apart = not position or (is_sweep and [_line_of(item) for item in following] != [_line_of(row)])
        cells = [_point_cell(cell(experiment, position, name), is_sweep and position > 0, width) for name in columns]
        head = _head(experiment, position, "★ " if chosen else "") if is_sweep else [row.name]
        table.add_row(
            *map(Text, head), *cells, style="bold" if chosen else "", end_section=apart and not at_top(position)
        )
        if at_top(position):
            blanks = [""] * (len(head) - 1)
            table.add_row("chance", *blanks, *chance_cells(experiment, columns), style="dim", end_section=True)
    told = [f"left out: {item.label}: {item.reason}" for item in experiment.left_out]
    if experiment.limits:
        found = "★ keeps" if experiment.chosen is not None else "no point keeps"
        by_bound = experiment.choice is not None and experiment.choice.by == "bound"
        how = ", by the bound of the 95 % interval" if by_bound else ""
        told.append(f"{found} {', '.join(experiment.limits)} (points against the original{how})")
    told += [note] if (note := measured_in(columns)) else []
    table.caption = Text("\n".join(told)) if told else None
    return table


def _head(sweep: Experiment, position: int, star: str) -> list[str]:
    row = sweep.rows[position]
    if not position:
        return [row.name, *[""] * (len(sweep.axes) - 1), "0"]
    first, *others = (f"{row.at(axis):g}" for axis in sweep.axes)
    return [star + first, *others, f"{row.n_selected or 0:,}"]


def _line_of(row: Row) -> list[float]:
    return [row.at(axis) for axis in list(row.axes)[1:]]


def _point_cell(item: Cell, with_difference: bool, width: int) -> Text:
    if not with_difference:
        return Text(item.figure, style="bold green" if item.best else "")
    between = " " if width >= WIDTH else "\n"
    text = Text(item.figure)
    return text.append(f"{between}{item.difference}", style=item.colour or "dim") if item.difference else text


def _blocks(experiment: Experiment, width: int) -> list[list[int]]:
    """Positions of the rows in each block; the first row stands in all of them."""
    names = max(len(column) for column in ["metric", *experiment.columns]) + _GAP
    if experiment.chance:
        names += len("chance") + _GAP
    widths = [_width(experiment, position) + _GAP for position in range(len(experiment.rows))]
    blocks: list[list[int]] = [[0]]
    for position in range(1, len(experiment.rows)):
        taken = names + sum(widths[other] for other in blocks[-1])
        if len(blocks[-1]) > 1 and taken + widths[position] > width:
            blocks.append([0])
        blocks[-1].append(position)
    return blocks


def _width(experiment: Experiment, position: int) -> int:
    cells = [_text(cell(experiment, position, column)).plain for column in experiment.columns]
    figures = max((len(line) for text in cells for line in text.split("\n")), default=1)
    return max(figures, *(len(piece) for piece in _pieces(experiment.rows[position].name)))


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


def _block(experiment: Experiment, positions: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric", no_wrap=True)
    for position in positions:
        row, width = experiment.rows[position], _width(experiment, position)
        header = Text(_header(row.name, width), style=_ROLE_STYLES[row.role])
        table.add_column(header, justify="right", min_width=width, overflow="fold")
    if experiment.chance:
        table.add_column("chance", justify="right", style="dim")
    for column, level in zip(experiment.columns, chance_cells(experiment, experiment.columns), strict=True):
        cells = [_text(cell(experiment, position, column)) for position in positions]
        table.add_row(Text(column), *cells, *([level] if experiment.chance else []))
    return table


def _column_blocks(experiment: Experiment, width: int) -> list[list[str]]:
    names = min(_WIDEST_NAME, max(len(row.name) for row in experiment.rows))
    blocks: list[list[str]] = [[]]
    left = width - names - _GAP
    for column in experiment.columns:
        needed = max(len(column), _WIDEST_FIGURE) + _GAP
        if blocks[-1] and needed > left:
            blocks.append([])
            left = width - names - _GAP
        blocks[-1].append(column)
        left -= needed
    return blocks


def _model_block(experiment: Experiment, columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", max_width=_WIDEST_NAME, overflow="fold")
    for column in columns:
        table.add_column(Text(column), justify="right", no_wrap=True)
    for position, row in enumerate(experiment.rows):
        cells = [_text(cell(experiment, position, column), with_interval=False) for column in columns]
        table.add_row(Text(row.name, style=_ROLE_STYLES[row.role]), *cells)
        if not position and experiment.chance:
            table.add_row("chance", *chance_cells(experiment, columns), style="dim")
    return table


def _text(item: Cell, *, with_interval: bool = True) -> Text:
    text = Text(item.figure, style="bold green" if item.best else "")
    text.append(item.mark, style="not bold")
    if with_interval and item.interval:
        text.append(f"\n{item.interval}", style="not bold dim")
    return text
