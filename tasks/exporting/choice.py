"""How a sweep chose an edit, where one did."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from data_specs.errors import ArtifactError
from data_specs.experiment_files import read_experiment
from data_specs.manifest import ArtifactRef
from tasks.lineage.store import Store
from tasks.tables.experiment_verdict import experiment_verdict


@dataclass(frozen=True)
class ChosenBy:
    """What the newest sweep that chose an edit says, and the versions of evaluations by which sweeps chose it.

    Figures of those flatter the edit, where others were set apart to report on.
    """

    sentences: Sequence[str]
    choosing: frozenset[str]


def choice_of(store: Store, edit: ArtifactRef) -> ChosenBy | None:
    """How sweeps in a store chose an edit; None where none did."""
    told, choosing = [], set()
    for ref in store.refs():
        if ref.kind != "sweep":
            continue
        with suppress(ArtifactError):
            ended = store.check(ref).circumstances.ended
            sweep = read_experiment(store.path(ref), "sweep")
            if sweep.chosen is None or sweep.points[sweep.chosen].versions.get("edit") != edit.version:
                continue
            told.append((ended, experiment_verdict(sweep)))
            if sweep.choice is not None and sweep.choice.on_others:
                choosing.add(sweep.points[sweep.chosen].versions["evaluation"])
    return ChosenBy(max(told)[1], frozenset(choosing)) if told else None
