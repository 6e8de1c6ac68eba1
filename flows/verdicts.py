"""What a run's figures say, in sentences."""

from collections.abc import Mapping
from pathlib import Path

from data_specs.caption_figures import read_caption_changes
from data_specs.evaluation_files import read_chance, read_differences
from data_specs.experiment_files import read_experiment
from data_specs.manifest import ArtifactRef
from data_specs.overlap import read_overlap
from data_specs.run_result import ArtifactPlace, RunResult
from tasks.lineage.contents import read_manifest
from tasks.tables.caption_verdict import caption_verdict
from tasks.tables.experiment_verdict import experiment_verdict
from tasks.tables.kinds import KINDS
from tasks.tables.verdict import edit_sizes, run_verdict


def verdict_of(result: RunResult) -> list[str]:
    """Sentences on the edited model of a run and on each of its experiments."""
    told, places = [], result.artifacts
    if "differences.edited" in places:
        lead = places.get("differences.edited.over_control")
        told += run_verdict(
            read_differences(Path(places["differences.edited"].path)),
            chance=chance_of(places),
            sizes=edit_sizes(read_manifest(Path(places["edit"].path), _ref("edit", places)))
            if "edit" in places
            else (),
            lead=read_differences(Path(lead.path)) if lead else None,
        )
    if "caption_differences.edited" in places:
        lead = places.get("caption_differences.edited.over_control")
        told += caption_verdict(
            read_caption_changes(Path(places["caption_differences.edited"].path)),
            read_caption_changes(Path(lead.path)) if lead else None,
        )
    for kind in KINDS:
        if kind in places:
            told += experiment_verdict(read_experiment(Path(places[kind].path), kind))
    return told


def warnings_of(result: RunResult) -> list[str]:
    """What calibration and evaluation pairs share, where that is anything."""
    places = result.artifacts
    return read_overlap(Path(places["overlap"].path)).sentences if "overlap" in places else []


def chance_of(places: Mapping[str, ArtifactPlace]) -> dict[str, float]:
    """What random answers give on a run's evaluation pairs."""
    return read_chance(Path(places["evaluation.original"].path)) if "evaluation.original" in places else {}


def _ref(kind: str, places: Mapping[str, ArtifactPlace]) -> ArtifactRef:
    return ArtifactRef(kind=kind, version=places[kind].version)
