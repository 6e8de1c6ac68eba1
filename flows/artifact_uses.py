"""What artifacts were to the runs that used them, from the records that runs left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.lineage.runs import run_records


@dataclass(frozen=True)
class ArtifactUse:
    """What an artifact was in the newest completed run that used it."""

    run: str
    role: str
    model: str
    figures: dict[str, float]


def artifact_uses(root: Path) -> dict[str, ArtifactUse]:
    """By version, what the records of a store say of its artifacts."""
    uses: dict[str, ArtifactUse] = {}
    for record in run_records(root):
        if record["status"] == "completed":
            figures = record.get("figures") or {}
            for role, version in (record.get("artifacts") or {}).items():
                kind, _, what = role.partition(".")
                own = figures.get(what, {}) if kind == "evaluation" else {}
                use = ArtifactUse(record["settings"]["name"], role, model_named(record["settings"]), own)
                uses.setdefault(version, use)
    return uses


def model_named(settings: dict[str, Any]) -> str:
    """Architecture and weights; of files their names."""
    model = settings.get("model") or {}
    names = [model.get(part) for part in ("architecture", "weights")]
    return " ".join(file_name(name) for name in names if name)


def file_name(location: str) -> str:
    """The name of a file that settings hold with its absolute path; of anything else all."""
    return location.rpartition("/")[2] if location.startswith("/") else location
