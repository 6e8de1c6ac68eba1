"""One figure of an experiment as tables show it, and what their readers must know."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_specs.experiment import Experiment
from data_specs.metrics import find_metric
from data_specs.sign_filter import SIGN_NOTE, is_filtered

NOT_MEASURED = "–"
_MARKS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True)
class Cell:
    """One figure, before a format's own escapes; all but the figure may be empty.

    `difference` is against the original, and `colour` says whether that is better.
    """

    figure: str
    interval: str = ""
    mark: str = ""
    best: bool = False
    difference: str = ""
    colour: str = ""


def mark(experiment: Experiment, position: int, column: str) -> str:
    """Stars that say how surely a figure differs from the original's, in either direction."""
    p = experiment.adjusted_p_values.get((position, column), 1.0)
    return next((mark for level, mark in _MARKS if p < level), "")


def cell(experiment: Experiment, position: int, column: str) -> Cell:
    """One figure with its interval, mark, difference and whether it is the best of its column."""
    row, metric = experiment.rows[position], find_metric(column)
    if column not in row.values:
        return Cell(NOT_MEASURED)
    interval = ""
    if column in row.intervals:
        low, high = row.intervals[column]
        interval = f"[{metric.shown(low)}, {metric.shown(high)}]"
    change = experiment.difference(row, column) or 0.0
    return Cell(
        figure=metric.shown(row.values[column]),
        interval=interval,
        mark=mark(experiment, position, column),
        best=position in experiment.best(column),
        difference=metric.shown(change, sign="+"),
        colour=metric.colour(change),
    )


def chance_cells(experiment: Experiment, columns: Sequence[str]) -> list[str]:
    """What random answers give, a figure a column; empty where nobody can say."""
    levels = experiment.chance
    return [find_metric(name).shown(levels[name]) if name in levels else "" for name in columns]


def measured_in(columns: Sequence[str], n_pairs: int | None = None, of: str = "evaluation pairs") -> str:
    """Unit and direction of the figures of a table, in words."""
    metrics = [find_metric(name) for name in columns]
    others = [metric for metric in metrics if (metric.unit, metric.better) != ("percent", "higher")]
    percent = f"Percent of {n_pairs:,} {of}; higher is better." if n_pairs else ""
    return " ".join([percent, *(f"{item.name}: {item.unit}, {item.better} is better." for item in others)]).strip()


def notes(experiment: Experiment) -> list[str]:
    """What the reader of the table must know, a sentence each."""
    return [*_notes(experiment), *([SIGN_NOTE] if any(is_filtered(row.settings) for row in experiment.rows) else [])]


def _notes(experiment: Experiment) -> list[str]:
    found = [measured_in(experiment.columns, experiment.n_pairs)]
    rows, columns = experiment.rows, experiment.columns
    if experiment.kind != "comparison":
        best = "Bold: the best edit of a column at the digit shown."
        found = [f"{found[0]} {best} {NOT_MEASURED}: does not matter for this scorer, or not measured."]
        return [*found, *(f"Left out: {item.label}: {item.reason}" for item in experiment.left_out)]
    if len([row for row in rows if row.role != "paper"]) > 1:
        found.append("Bold: the best of a column at the digit shown; rows of the paper are left out of this.")
    if any(row.intervals for row in rows):
        found.append("Brackets: 95 % interval.")
    if n_tests := len(experiment.adjusted_p_values):
        found.append(
            "* p < 0.05, ** p < 0.01, *** p < 0.001: differs from the original on the same pairs, up or down"
            f" (McNemar's exact test, p adjusted by Holm's method over the {n_tests} tests of this table)."
        )
    if any(row.role == "paper" for row in rows):
        found.append("Rows of the paper are its printed figures, for the same model, data and settings.")
    if any(column not in row.values for row in rows for column in columns):
        found.append(f"{NOT_MEASURED}: not measured.")
    return found
