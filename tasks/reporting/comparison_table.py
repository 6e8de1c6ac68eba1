"""The comparison of methods and controls as a table; figures, marks and notes are the comparison's own."""

from dataclasses import dataclass

from pydantic import JsonValue

from data_specs.comparison import Cell, Comparison, Role


@dataclass(frozen=True)
class Row:
    """One model, and in words how it was made."""

    name: str
    role: Role
    cells: list[Cell]
    made_by: str
    versions: dict[str, str]


@dataclass(frozen=True)
class ComparisonTable:
    """Rows and columns in the order of the comparison, and what a reader must know."""

    columns: list[str]
    rows: list[Row]
    notes: list[str]


def comparison_table(comparison: Comparison) -> ComparisonTable:
    """Gather the table."""
    rows = [
        Row(
            name=row.name,
            role=row.role,
            cells=[comparison.cell(position, column) for column in comparison.columns],
            made_by=in_words(dict(row.settings)),
            versions=row.versions,
        )
        for position, row in enumerate(comparison.rows)
    ]
    notes = list(comparison.notes())
    if any(row.role == "control" for row in rows):
        notes.append("A control shows what an edit of the same size does without the method's choice of weights.")
    return ComparisonTable(comparison.columns, rows, notes)


def in_words(value: JsonValue) -> str:
    """Settings on one line, such as `text (scorer uwm, tau 0.98), seed 0`."""
    if isinstance(value, dict):
        return ", ".join(
            f"{name} ({in_words(part)})" if isinstance(part, dict) else f"{name} {in_words(part)}"
            for name, part in value.items()
        )
    if isinstance(value, list):
        return " + ".join(in_words(part) for part in value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
