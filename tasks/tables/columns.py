"""An experiment for programs, as CSV and Parquet: one row a model or point, all digits."""

import csv
import io
import json
from typing import Any

import pyarrow as pa

from data_specs.experiment import Experiment, Row
from tasks.tables.kinds import KINDS, columns_used

SPEC_VERSION = "1"
_TYPES = {
    "chosen": pa.bool_(),
    **dict.fromkeys(("tau", "text_tau", "vision_tau", "alpha"), pa.float64()),
    **dict.fromkeys(("n_selected", "limit", "seed"), pa.int64()),
}


def experiment_csv(experiment: Experiment) -> str:
    """A line for the columns and one a row; what was not measured is empty.

    Of a comparison each metric has its figure, interval, p and p after Holm's adjustment; of a sweep or
    an ablation its figure, interval and points against the original.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _names(experiment), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: str(value).lower() if isinstance(value, bool) else value for name, value in row.items()}
        for row in _rows(experiment)
    )
    return stream.getvalue()


def experiment_parquet(experiment: Experiment) -> pa.Table:
    """The same columns; an axis is null where it does not matter for a row, or where its value is no number.

    The schema's metadata hold the experiment's name, pairs and the original's figures.
    """
    kind = KINDS[experiment.kind]
    metrics = {f"{metric}{suffix}" for metric in experiment.columns for suffix in kind.suffixes}
    fields = [
        pa.field(
            name,
            pa.float64() if name in metrics else _TYPES.get(name, pa.string()),
            nullable=name not in kind.required,
        )
        for name in _names(experiment)
    ]
    metadata = {"spec": experiment.kind, "version": SPEC_VERSION}
    metadata |= {name: json.dumps(getattr(experiment, name)) for name in kind.metadata}
    rows = _rows(experiment)
    for row in rows:
        row |= {
            name: int(value) if value.isdecimal() else None
            for name, value in row.items()
            if isinstance(value, str) and _TYPES.get(name) == pa.int64()
        }
    return pa.Table.from_pylist(rows, schema=pa.schema(fields, metadata=metadata))


def _names(experiment: Experiment) -> list[str]:
    kind = KINDS[experiment.kind]
    metrics = [f"{metric}{suffix}" for metric in experiment.columns for suffix in kind.suffixes]
    return [*columns_used(kind.lead, experiment), *metrics, *kind.tail]


def _rows(experiment: Experiment) -> list[dict[str, Any]]:
    kind = KINDS[experiment.kind]
    rows = [
        {name: _field(experiment, position, name) for name in columns_used(kind.lead, experiment)}
        | {
            f"{metric}{suffix}": _figure(experiment, position, metric, suffix)
            for metric in experiment.columns
            for suffix in kind.suffixes
        }
        | {name: _field(experiment, position, name) for name in kind.tail}
        for position in range(experiment.kind != "comparison", len(experiment.rows))
    ]
    axes = [name for name in kind.lead if any(name in item.axes for item in experiment.left_out)]
    left_out = [
        {"label": item.label, **{axis: item.axes.get(axis) for axis in axes}, "left_out": item.reason}
        for item in experiment.left_out
    ]
    return [*rows, *left_out]


def _field(experiment: Experiment, position: int, name: str) -> Any:
    row = experiment.rows[position]
    if name in row.axes:
        return row.axes[name]
    if name == "n_pairs":
        # The paper's pairs are as many, but not these.
        return None if row.role == "paper" else experiment.n_pairs
    if name == "chosen":
        return position - 1 == experiment.chosen
    if name in ("settings", "versions"):
        return json.dumps(getattr(row, name), sort_keys=True)
    return row.versions.get(name) or getattr(row, {"label": "name"}.get(name, name), None)


def _figure(experiment: Experiment, position: int, metric: str, suffix: str) -> float | None:
    row: Row = experiment.rows[position]
    low, high = row.intervals.get(metric, (None, None))
    return {
        "": row.values.get(metric),
        "_low": low,
        "_high": high,
        "_difference": experiment.difference(row, metric),
        "_p": row.p_values.get(metric),
        "_p_holm": experiment.adjusted_p_values.get((position, metric)),
    }[suffix]
