"""An experiment for people: a table in GitHub's Markdown or in LaTeX, with its title and notes."""

from data_specs.experiment import Experiment, comparison_columns
from tasks.tables.cells import NOT_MEASURED, Cell, cell, chance_cells, notes
from tasks.tables.escaping import escape_latex, escape_markdown
from tasks.tables.kinds import KINDS, columns_used


def experiment_markdown(experiment: Experiment) -> str:
    """A table for GitHub's Markdown in the main columns, the best figures in bold."""
    head, columns = columns_used(KINDS[experiment.kind].head, experiment), comparison_columns(experiment.columns)
    lines = [
        f"**{escape_markdown(experiment.name)}**",
        "",
        _markdown_row([escape_markdown(name) for name in (*head, *columns)]),
        _markdown_row(["---"] * len(head) + ["---:"] * len(columns)),
    ]
    for position in range(len(experiment.rows)):
        figures = [_markdown_cell(experiment, cell(experiment, position, column)) for column in columns]
        lines.append(_markdown_row([*map(escape_markdown, _head(experiment, position)), *figures]))
        if not position and experiment.chance:
            lines.append(_markdown_row(["chance", *[""] * (len(head) - 1), *chance_cells(experiment, columns)]))
    return "\n".join([*lines, "", *(f"{escape_markdown(note)}  " for note in notes(experiment)), ""])


def experiment_latex(experiment: Experiment) -> str:
    r"""A `table*` that needs no package; an interval stands in small type below its figure."""
    head, columns = columns_used(KINDS[experiment.kind].head, experiment), comparison_columns(experiment.columns)
    lines = [
        r"\begin{table*}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape_latex(experiment.name)}. {escape_latex(' '.join(notes(experiment)))}}}",
        rf"\begin{{tabular}}{{{'l' * len(head)}{'r' * len(columns)}}}",
        r"\hline",
        _latex_row([escape_latex(name) for name in (*head, *columns)]),
        r"\hline",
    ]
    for position, row in enumerate(experiment.rows):
        names = [escape_latex(name) for name in _head(experiment, position)]
        cells = [cell(experiment, position, column) for column in columns]
        shown = [rf"\textit{{{name}}}" if row.role == "paper" else name for name in names]
        lines.append(_latex_row([*shown, *map(_latex_cell, cells)]))
        if experiment.kind == "comparison" and any(item.interval for item in cells):
            # Only the cell's first letter could be taken for an option of the line's end before it.
            below = [rf"{{\tiny {item.interval}}}" if item.interval else "" for item in cells]
            lines.append(_latex_row([*[""] * len(head), *below]))
        if not position and experiment.chance:
            lines.append(_latex_row(["chance", *[""] * (len(head) - 1), *chance_cells(experiment, columns)]))
    return "\n".join([*lines, r"\hline", r"\end{tabular}", r"\end{table*}", ""])


def _head(experiment: Experiment, position: int) -> list[str]:
    head, row = columns_used(KINDS[experiment.kind].head, experiment), experiment.rows[position]
    if len(head) == 1 or not position:
        return [row.name, *[""] * (len(head) - 1)]
    return [str(row.axes.get(axis, NOT_MEASURED)) for axis in head]


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(experiment: Experiment, item: Cell) -> str:
    figure = f"**{item.figure}**" if item.best else item.figure
    if experiment.kind != "comparison":
        return figure
    return f"{figure}{escape_markdown(item.mark)}{' ' if item.interval else ''}{escape_markdown(item.interval)}"


def _latex_row(cells: list[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _latex_cell(item: Cell) -> str:
    figure = rf"\textbf{{{item.figure}}}" if item.best else escape_latex(item.figure)
    return f"{figure}$^{{{item.mark}}}$" if item.mark else figure
