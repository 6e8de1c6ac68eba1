"""An experiment as the report shows it; figures, marks and notes are those of every table."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_specs.experiment import Experiment, Kind, Role
from data_specs.experiment_files import experiment_file, read_experiment
from data_specs.metrics import find_metric
from data_specs.reading import needed
from tasks.reporting.settings import in_words
from tasks.tables.cells import NOT_MEASURED, Cell, cell, chance_cells, notes
from tasks.tables.experiment_verdict import encoders_of, experiment_verdict
from tasks.tables.kinds import KINDS, PANELS

_COLUMNS_ON_PAPER = 7


@dataclass(frozen=True)
class ShownRow:
    """One model or point, and in words how it was made."""

    head: list[str]
    role: Role
    cells: list[Cell]
    made_by: str
    versions: Mapping[str, str]
    chosen: bool = False


@dataclass(frozen=True)
class ExperimentSection:
    """Rows and columns in the order of the experiment, and what a reader must know; `figure` is a data: URI."""

    kind: Kind
    title: str
    label: str
    head: Sequence[str]
    columns: list[str]
    rows: list[ShownRow]
    notes: list[str]
    verdict: Sequence[str] = ()
    chance: Sequence[str] = ()
    figure: str = ""

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Where the columns begin and end that stand side by side on paper."""
        return [
            (start, min(start + _COLUMNS_ON_PAPER, len(self.columns)))
            for start in range(0, len(self.columns), _COLUMNS_ON_PAPER)
        ]


def experiment_section(artifact: Path, kind: Kind) -> ExperimentSection:
    """Gather the section of a `comparison`, `sweep` or `ablation` artifact."""
    experiment = read_experiment(artifact, kind)
    if kind == "sweep":
        return _sweep_section(experiment, needed(artifact / experiment_file(kind, "svg")).read_bytes())
    found = notes(experiment)
    if any(row.role == "control" for row in experiment.rows):
        found.append("A control shows what an edit of the same size does without the method's choice of weights.")
    rows = [
        ShownRow(
            head=[row.name],
            role=row.role,
            cells=[cell(experiment, position, column) for column in experiment.columns],
            made_by=in_words(dict(row.settings)),
            versions=row.versions,
        )
        for position, row in enumerate(experiment.rows)
    ]
    shown = KINDS[kind]
    told = experiment_verdict(experiment)
    level = chance_cells(experiment, experiment.columns) if experiment.chance else ()
    return ExperimentSection(
        kind, shown.section, shown.label, ("model",), experiment.columns, rows, found, told, chance=level
    )


def _sweep_section(sweep: Experiment, figure: bytes) -> ExperimentSection:
    # The figure goes in as a picture, not as markup: its style rules and ids would act on the page.
    columns = [metric for metric in PANELS if metric in sweep.original]
    told = f"{len(sweep.points)} edits of the {encoders_of(sweep)}, measured on {sweep.n_pairs:,} pairs. Dashed: the original; dotted: chance."
    if sweep.chosen is not None:
        told += " Star: the chosen point."
    axes, rows = [axis.replace("_", " ") for axis in sweep.axes], []
    for position, row in enumerate(sweep.rows):
        chosen = position > 0 and position - 1 == sweep.chosen
        star = " ★ chosen" if chosen else ""
        head = [f"{row.at(axis):g}" for axis in sweep.axes] if position else [row.name, *[""] * (len(sweep.axes) - 1)]
        head[0] += star
        figures = [
            Cell(find_metric(name).shown(row.values[name], more=1) if name in row.values else NOT_MEASURED)
            for name in columns
        ]
        rows.append(ShownRow([*head, f"{row.n_selected or 0:,}"], row.role, figures, "", row.versions, chosen))
    return ExperimentSection(
        kind="sweep",
        title=KINDS["sweep"].section.format(axes=" and ".join(axes)),
        label=KINDS["sweep"].label,
        head=(*axes, "weights edited"),
        columns=columns,
        rows=rows,
        notes=[told],
        verdict=experiment_verdict(sweep),
        chance=chance_cells(sweep, columns) if sweep.chance else (),
        figure="data:image/svg+xml;base64," + base64.b64encode(figure).decode("ascii"),
    )
