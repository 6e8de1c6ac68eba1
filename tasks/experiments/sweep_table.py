"""A sweep as Parquet and CSV: one row a point."""

import csv
import io
import json
from typing import Any

import pyarrow as pa

from data_specs.sweep import Sweep
from tasks.experiments.measured import measured_cells, measured_columns

SPEC_VERSION = "1"


def sweep_parquet_table(sweep: Sweep) -> pa.Table:
    """Every point in the sweep's order.

    Returns:
        `tau, alpha, n_selected, chosen`, for each metric `METRIC` and its `_low`, `_high` (95 %, percent)
        and `_difference` (points against the original), then the versions `edit, evaluation`; null where
        something was not measured. The schema's metadata hold the sweep's name, pairs, encoders, limits
        and the original's figures.
    """
    return pa.Table.from_pylist(_rows(sweep), schema=_schema(sweep))


def sweep_csv(sweep: Sweep) -> str:
    """The same columns as CSV, all digits; empty where something was not measured."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _schema(sweep).names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"chosen": str(row["chosen"]).lower()} for row in _rows(sweep))
    return stream.getvalue()


def _schema(sweep: Sweep) -> pa.Schema:
    fields = [
        pa.field("tau", pa.float64(), nullable=False),
        pa.field("alpha", pa.float64(), nullable=False),
        pa.field("n_selected", pa.int64(), nullable=False),
        pa.field("chosen", pa.bool_(), nullable=False),
        *(pa.field(name, pa.float64()) for metric in sweep.metrics for name in measured_columns(metric)),
        pa.field("edit", pa.string(), nullable=False),
        pa.field("evaluation", pa.string(), nullable=False),
    ]
    record = sweep.model_dump(include={"name", "n_pairs", "encoders", "limits", "original"})
    metadata = {"spec": "sweep", "version": SPEC_VERSION} | {key: json.dumps(value) for key, value in record.items()}
    return pa.schema(fields, metadata=metadata)


def _rows(sweep: Sweep) -> list[dict[str, Any]]:
    rows = []
    for position, point in enumerate(sweep.points):
        row: dict[str, Any] = {
            "tau": point.tau,
            "alpha": point.alpha,
            "n_selected": point.n_selected,
            "chosen": position == sweep.chosen,
        }
        for metric in sweep.metrics:
            row |= measured_cells(metric, point.values, point.intervals, sweep.original)
        rows.append(row | {"edit": point.edit, "evaluation": point.evaluation})
    return rows
