"""How `comparison.json`, `sweep.json` and `ablation.json` lay an experiment out, and their one reader."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from data_specs.experiment import ORIGINAL, Experiment, Kind
from data_specs.metrics import ordered_metrics
from data_specs.reading import read_spec

_POINT_VERSIONS = ("edit", "evaluation")
_MEASURED = ("values", "intervals", "n_selected")
_OF_A_CHOICE = ("differences",)


def experiment_file(kind: Kind, suffix: str) -> str:
    """The name of one of an experiment's files."""
    return f"{kind}.{suffix}"


def experiment_json(experiment: Experiment) -> str:
    """The text of an experiment's JSON file."""
    whole = experiment.model_dump(mode="json")
    content = {"name": whole["name"], "n_pairs": whole["n_pairs"]}
    if experiment.kind == "comparison":
        left = ("axes", "n_selected", *_OF_A_CHOICE)
        rows = [
            {name: row[name] for name in row if name not in left and (name != "lead" or row[name])}
            for row in whole["rows"]
        ]
        content |= {"columns": whole["columns"], "rows": rows}
    elif experiment.kind == "sweep":
        points = [
            row["axes"]
            | {name: row[name] for name in _MEASURED}
            | {name: row[name] for name in _OF_A_CHOICE if row[name]}
            | {name: row["versions"][name] for name in _POINT_VERSIONS}
            for row in whole["rows"][1:]
        ]
        content |= {"encoders": whole["encoders"], ORIGINAL: experiment.original, "points": points}
        content |= {"limits": whole["limits"], "chosen": whole["chosen"]}
        if experiment.choice is not None:
            content["choice"] = whole["choice"]
    else:
        rows = [
            {"point": {"label": row["name"], "axes": row["axes"], **row["settings"]}}
            | {name: row[name] for name in _MEASURED}
            | {"versions": dict(sorted(row["versions"].items()))}
            for row in whole["rows"][1:]
        ]
        content |= {ORIGINAL: experiment.original, "rows": rows, "left_out": whole["left_out"]}
    if experiment.chance:
        content["chance"] = whole["chance"]
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_experiment(artifact: Path, kind: Kind) -> Experiment:
    """The content of a `comparison`, `sweep` or `ablation` artifact.

    Raises:
        ArtifactError: its JSON file is missing or holds something else.
    """
    return read_spec(Experiment, artifact / experiment_file(kind, "json"), partial(_fields, kind=kind))


def _fields(file: dict[str, Any], kind: Kind) -> dict[str, Any]:
    fields = {"kind": kind, **file}
    if kind != "comparison":
        values = fields.pop(ORIGINAL, {})
        points = fields.pop("points" if kind == "sweep" else "rows", [])
        read = _sweep_row if kind == "sweep" else _ablation_row
        fields["columns"] = ordered_metrics(values)
        fields["rows"] = [{"name": ORIGINAL, "role": ORIGINAL, "values": values}, *map(read, points)]
    return fields


def _sweep_row(point: Mapping[str, Any]) -> dict[str, Any]:
    axes = {name: value for name, value in point.items() if name not in (*_MEASURED, *_OF_A_CHOICE, *_POINT_VERSIONS)}
    return {
        "name": ", ".join(f"{name} {value:g}" for name, value in axes.items()),
        "role": "method",
        "axes": axes,
        "versions": {name: point[name] for name in _POINT_VERSIONS},
        **{name: point[name] for name in (*_MEASURED, *_OF_A_CHOICE) if name in point},
    }


def _ablation_row(row: Mapping[str, Any]) -> dict[str, Any]:
    point = dict(row["point"])
    own = {"name": point.pop("label"), "role": "method", "axes": point.pop("axes"), "settings": point}
    return own | {name: row[name] for name in (*_MEASURED, "versions") if name in row}
