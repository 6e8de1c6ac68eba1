"""An ablation as Parquet, CSV and Markdown: a column an axis, then the metrics."""

import csv
import io
import json
from typing import Any

import pyarrow as pa

from data_specs.ablation import AXES, Ablation
from data_specs.comparison import NOT_MEASURED, comparison_columns, shown
from data_specs.metrics import ordered_metrics
from tasks.experiments.escaping import escape_markdown
from tasks.experiments.measured import measured_cells, measured_columns

SPEC_VERSION = "1"
_NUMBERS = ("limit", "seed")


def ablation_parquet_table(ablation: Ablation) -> pa.Table:
    """Every point, then every combination that was left out.

    Returns:
        `label`, the axes, `n_selected`, `left_out` (the reason; null for what was computed), then for each
        metric `METRIC` and its `_low`, `_high` (95 %, percent) and `_difference` (points against the
        original). An axis is null where it does not matter for the scorer, and a limit that is all
        samples is null, too. The schema's metadata hold name, pairs and the original's figures.
    """
    rows = _rows(ablation)
    for row in rows:
        row |= {axis: int(row[axis]) if str(row[axis]).isdecimal() else None for axis in _NUMBERS}
    return pa.Table.from_pylist(rows, schema=_schema(ablation))


def ablation_csv(ablation: Ablation) -> str:
    """The same columns as CSV, all digits; an axis is empty where it does not matter, a limit may be `all`."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _schema(ablation).names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(ablation))
    return stream.getvalue()


def ablation_markdown(ablation: Ablation) -> str:
    """A table for GitHub's Markdown in the paper's columns, best figures in bold, and what was left out."""
    columns = comparison_columns(ablation.original)
    best = {column: _best(ablation, column) for column in columns}
    lines = [
        f"**{escape_markdown(ablation.name)}**",
        "",
        _row([*AXES, *columns]),
        f"|{' --- |' * len(AXES)}{' ---: |' * len(columns)}",
        _row(["original", *[""] * (len(AXES) - 1), *(shown(ablation.original[column]) for column in columns)]),
    ]
    for row in ablation.rows:
        axes = [row.point.axes.get(axis, NOT_MEASURED) for axis in AXES]
        figures = [shown(row.values[column]) if column in row.values else NOT_MEASURED for column in columns]
        bold = [f"**{text}**" if text == best[column] else text for column, text in zip(columns, figures, strict=True)]
        lines.append(_row(axes, bold))
    notes = [
        f"Percent of {ablation.n_pairs:,} evaluation pairs; higher is better. Bold: the best edit of a column at the digit"
        f" shown. {NOT_MEASURED}: does not matter for this scorer, or not measured."
    ]
    notes += [f"Left out: {item.label}: {item.reason}" for item in ablation.left_out]
    return "\n".join([*lines, "", *(f"{escape_markdown(note)}  " for note in notes), ""])


def _best(ablation: Ablation, column: str) -> str:
    figures = [shown(row.values[column]) for row in ablation.rows if column in row.values]
    return max(figures, key=float, default="")


def _row(plain: list[str], formatted: list[str] | None = None) -> str:
    return f"| {' | '.join([*map(escape_markdown, plain), *(formatted or [])])} |"


def _schema(ablation: Ablation) -> pa.Schema:
    fields = [
        pa.field("label", pa.string(), nullable=False),
        *(pa.field(axis, pa.int64() if axis in _NUMBERS else pa.string()) for axis in AXES),
        pa.field("n_selected", pa.int64()),
        pa.field("left_out", pa.string()),
        *(pa.field(name, pa.float64()) for metric in _metrics(ablation) for name in measured_columns(metric)),
    ]
    record = ablation.model_dump(include={"name", "n_pairs", "original"})
    metadata = {"spec": "ablation", "version": SPEC_VERSION} | {key: json.dumps(value) for key, value in record.items()}
    return pa.schema(fields, metadata=metadata)


def _metrics(ablation: Ablation) -> list[str]:
    return ordered_metrics(ablation.original)


def _rows(ablation: Ablation) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for item in ablation.rows:
        row: dict[str, Any] = {"label": item.point.label, **_axes(item.point.axes)}
        row |= {"n_selected": item.n_selected, "left_out": None}
        for metric in _metrics(ablation):
            row |= measured_cells(metric, item.values, item.intervals, ablation.original)
        rows.append(row)
    rows += [{"label": item.label, **_axes(item.axes), "left_out": item.reason} for item in ablation.left_out]
    return rows


def _axes(values: dict[str, str]) -> dict[str, str | None]:
    return {axis: values.get(axis) for axis in AXES}
