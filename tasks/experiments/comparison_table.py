"""A comparison as CSV, Markdown and LaTeX: one row a model, the paper's columns."""

import csv
import io
import json

from data_specs.comparison import Comparison
from tasks.experiments.escaping import escape_latex, escape_markdown


def comparison_csv(comparison: Comparison) -> str:
    """All digits, for programs: for each metric its figure, interval, p and p after Holm's adjustment.

    Returns:
        A line for the columns and one a model; what was not measured is empty.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    per_metric = ("", "_low", "_high", "_p", "_p_holm")
    names = [f"{column}{suffix}" for column in comparison.columns for suffix in per_metric]
    writer.writerow(["name", "role", "n_pairs", *names, "settings", "versions"])
    for position, row in enumerate(comparison.rows):
        cells: list[float | None] = []
        for column in comparison.columns:
            low, high = row.intervals.get(column, (None, None))
            p, adjusted = row.p_values.get(column), comparison.adjusted_p_values.get((position, column))
            cells += [row.values.get(column), low, high, p, adjusted]
        # The paper's pairs are as many, but not these.
        n_pairs = "" if row.role == "paper" else comparison.n_pairs
        records = [json.dumps(record, sort_keys=True) for record in (row.settings, row.versions)]
        writer.writerow([row.name, row.role, n_pairs, *cells, *records])
    return stream.getvalue()


def comparison_markdown(comparison: Comparison) -> str:
    """A table for GitHub's Markdown with its title and notes."""
    lines = [f"**{escape_markdown(comparison.name)}**", ""]
    lines.append(_markdown_row(["model", *map(escape_markdown, comparison.columns)]))
    lines.append(_markdown_row(["---", *["---:"] * len(comparison.columns)]))
    for position, row in enumerate(comparison.rows):
        cells = [_markdown_cell(comparison, position, column) for column in comparison.columns]
        lines.append(_markdown_row([escape_markdown(row.name), *cells]))
    return "\n".join([*lines, "", *(f"{escape_markdown(note)}  " for note in comparison.notes()), ""])


def comparison_latex(comparison: Comparison) -> str:
    r"""A `table*` that needs no package; an interval stands in small type below its figure."""
    lines = [
        r"\begin{table*}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape_latex(comparison.name)}. {escape_latex(' '.join(comparison.notes()))}}}",
        rf"\begin{{tabular}}{{l{'r' * len(comparison.columns)}}}",
        r"\hline",
        _latex_row(["model", *map(escape_latex, comparison.columns)]),
        r"\hline",
    ]
    for position, row in enumerate(comparison.rows):
        name = escape_latex(row.name)
        cells = [_latex_cell(comparison, position, column) for column in comparison.columns]
        lines.append(_latex_row([rf"\textit{{{name}}}" if row.role == "paper" else name, *cells]))
        intervals = [comparison.cell(position, column).interval for column in comparison.columns]
        if any(intervals):
            # Only the cell's first letter could be taken for an option of the line's end before it.
            lines.append(_latex_row(["", *(rf"{{\tiny {interval}}}" if interval else "" for interval in intervals)]))
    return "\n".join([*lines, r"\hline", r"\end{tabular}", r"\end{table*}", ""])


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(comparison: Comparison, position: int, column: str) -> str:
    cell = comparison.cell(position, column)
    figure = f"**{cell.figure}**" if cell.best else cell.figure
    return f"{figure}{escape_markdown(cell.mark)}{' ' if cell.interval else ''}{escape_markdown(cell.interval)}"


def _latex_row(cells: list[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _latex_cell(comparison: Comparison, position: int, column: str) -> str:
    cell = comparison.cell(position, column)
    figure = rf"\textbf{{{cell.figure}}}" if cell.best else escape_latex(cell.figure)
    return f"{figure}$^{{{cell.mark}}}$" if cell.mark else figure
