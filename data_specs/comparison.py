"""A comparison of several models measured on the same pairs: what `comparison.json` holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, FiniteFloat, JsonValue, model_validator

from data_specs.metrics import GROUPS, PREFERENCES, RETRIEVALS, ZERO_SHOT, accuracy_name
from data_specs.spec import Spec

COMPARISON_FILE = "comparison.json"

Role = Literal["original", "method", "control", "paper"]

PAPER_COLUMNS: tuple[str, ...] = (ZERO_SHOT, *RETRIEVALS, *PREFERENCES, *GROUPS)
NOT_MEASURED = "–"
_ZERO_SHOT_PREFIX, _ACC1 = f"{ZERO_SHOT}.", ".acc1"
_MARKS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def zero_shot_column(data_set: str) -> str:
    """The column of one zero-shot data set: its top-1 accuracy."""
    return accuracy_name(data_set, "acc1")


def comparison_columns(measured: Iterable[str]) -> list[str]:
    """The paper's columns that were measured, in its order, then single zero-shot data sets as they come."""
    names = list(dict.fromkeys(measured))
    return [
        *(name for name in PAPER_COLUMNS if name in names),
        *(name for name in names if name.startswith(_ZERO_SHOT_PREFIX) and name.endswith(_ACC1)),
    ]


def shown(value: float) -> str:
    """A figure as tables show it: one digit, as in the paper."""
    return f"{value:.1f}"


@dataclass(frozen=True)
class Cell:
    """One figure of a table, before a format's own escapes; `interval` and `mark` may be empty."""

    figure: str
    interval: str
    mark: str
    best: bool


class ComparisonRow(Spec):
    """One model: figures in percent by metric name."""

    name: str
    role: Role
    values: dict[str, FiniteFloat]
    intervals: dict[str, tuple[FiniteFloat, FiniteFloat]] = Field(default_factory=dict, description="95 %, percent")
    p_values: dict[str, float] = Field(default_factory=dict, description="McNemar's exact p against the original")
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="how the model was edited")
    versions: dict[str, str] = Field(default_factory=dict, description="role -> artifact version")

    @model_validator(mode="after")
    def _p_values_are_probabilities(self) -> Self:
        for metric, p in self.p_values.items():
            if not 0 <= p <= 1:
                raise ValueError(f"p of {metric} is {p}, expected 0 to 1")
        return self


class Comparison(Spec):
    """Rows in table order, the original first."""

    name: str
    n_pairs: int = Field(ge=1)
    columns: list[str] = Field(description="metric names, in the paper's order")
    rows: list[ComparisonRow] = Field(min_length=1)

    def best(self, column: str) -> list[int]:
        """Positions of the rows with the highest figure; the paper's rows take no part.

        Figures that look the same in the table are equal: who reads two of them must not find one in bold.
        """
        figures = {
            position: float(shown(row.values[column]))
            for position, row in enumerate(self.rows)
            if row.role != "paper" and column in row.values
        }
        return [position for position, figure in figures.items() if figure == max(figures.values())]

    @property
    def adjusted_p_values(self) -> dict[tuple[int, str], float]:
        """p by row position and column, adjusted over all tests of the table.

        Source: Holm 1979: of m tests the k-th smallest p is multiplied by m - k + 1, and no
        adjusted p is below one of a smaller p.
        """
        tests = [
            (p, position, column)
            for position, row in enumerate(self.rows)
            for column, p in row.p_values.items()
            if column in self.columns
        ]
        adjusted: dict[tuple[int, str], float] = {}
        highest = 0.0
        for rank, (p, position, column) in enumerate(sorted(tests)):
            highest = max(highest, min(1.0, p * (len(tests) - rank)))
            adjusted[position, column] = highest
        return adjusted

    def mark(self, position: int, column: str) -> str:
        """Stars that say how surely a figure differs from the original's, in either direction."""
        p = self.adjusted_p_values.get((position, column), 1.0)
        return next((mark for level, mark in _MARKS if p < level), "")

    def cell(self, position: int, column: str) -> Cell:
        """One figure with its interval, mark and whether it is the best of its column."""
        row = self.rows[position]
        if column not in row.values:
            return Cell(NOT_MEASURED, "", "", best=False)
        interval = ""
        if column in row.intervals:
            low, high = row.intervals[column]
            interval = f"[{shown(low)}, {shown(high)}]"
        return Cell(shown(row.values[column]), interval, self.mark(position, column), position in self.best(column))

    def notes(self) -> list[str]:
        """What the reader of the table must know, a sentence each."""
        notes = [f"Percent of {self.n_pairs:,} evaluation pairs; higher is better."]
        if len([row for row in self.rows if row.role != "paper"]) > 1:
            notes.append("Bold: the best of a column at the digit shown; rows of the paper are left out of this.")
        if any(row.intervals for row in self.rows):
            notes.append("Brackets: 95 % interval.")
        if n_tests := len(self.adjusted_p_values):
            notes.append(
                "* p < 0.05, ** p < 0.01, *** p < 0.001: differs from the original on the same pairs, up or down"
                f" (McNemar's exact test, p adjusted by Holm's method over the {n_tests} tests of this table)."
            )
        if any(row.role == "paper" for row in self.rows):
            notes.append("Rows of the paper are its printed figures, for the same model, data and settings.")
        if any(column not in row.values for row in self.rows for column in self.columns):
            notes.append(f"{NOT_MEASURED}: not measured.")
        return notes
