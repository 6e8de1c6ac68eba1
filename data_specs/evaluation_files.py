"""The files of evaluations and differences, and how to read them."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_specs.errors import ArtifactError
from data_specs.figures import Difference, MarginBin, PartChange, TagFigure
from data_specs.metrics import Of, accuracy_name
from data_specs.reading import needed

METRICS_FILE = "metrics.json"
SIMILARITIES_FILE = "similarities.parquet"
OUTCOMES_FILE = "outcomes.parquet"
INTERVALS_FILE = "intervals.json"
CHANCE_FILE = "chance.json"
BY_TAG_FILE = "by_tag.parquet"
ZERO_SHOT_FILE = "zero_shot.json"
ZERO_SHOT_OUTCOMES_FILE = "zero_shot_outcomes.parquet"
CAPTION_OUTCOMES_FILE = "caption_outcomes.parquet"
DIFFERENCES_FILE = "differences.parquet"
FLIPS_FILE = "flips.parquet"
CHANGES_BY_TAG_FILE = "changes_by_tag.parquet"
CHANGES_BY_CERTAINTY_FILE = "changes_by_certainty.parquet"
MARGINS_FILE = "margins.parquet"


@dataclass(frozen=True)
class OutcomeTable:
    """Where an evaluation holds what became of each pair, image or caption, and what tells these apart."""

    file: str
    key: tuple[str, ...]  # columns
    same: tuple[str, ...]  # what two evaluations must share to be compared
    what: str


OUTCOME_TABLES: dict[Of, OutcomeTable] = {
    "pair": OutcomeTable(OUTCOMES_FILE, ("pair_id",), ("pair_id",), "pairs"),
    "image": OutcomeTable(
        ZERO_SHOT_OUTCOMES_FILE,
        ("data_set", "sample_id"),
        ("data_set", "sample_id", "label"),
        "images of zero-shot data sets",
    ),
    "caption": OutcomeTable(CAPTION_OUTCOMES_FILE, ("caption_id",), ("caption_id",), "captions"),
}


def write_json(path: Path, content: Any) -> None:
    """Write what a JSON file of an evaluation holds."""
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_metrics(artifact: Path) -> dict[str, float]:
    """The metrics of an evaluation artifact, shares in percent, and `n_pairs`."""
    metrics: dict[str, float] = _read_json(artifact / METRICS_FILE)
    return metrics


def read_zero_shot(artifact: Path) -> dict[str, dict[str, float]]:
    """The accuracies of each zero-shot data set in percent; empty where there is no data set."""
    path = artifact / ZERO_SHOT_FILE
    accuracies: dict[str, dict[str, float]] = _read_json(path) if path.exists() else {}
    return accuracies


def read_figures(artifact: Path) -> dict[str, float]:
    """Every figure, those of single data sets as `zero_shot.cifar10.acc1`: the names of `read_intervals`."""
    figures = {name: value for name, value in read_metrics(artifact).items() if not name.startswith("n_")}
    for data_set, accuracies in read_zero_shot(artifact).items():
        figures |= {accuracy_name(data_set, name): value for name, value in accuracies.items()}
    return figures


def read_intervals(artifact: Path) -> dict[str, tuple[float, float]]:
    """Low and high of each figure's 95 % interval."""
    return {name: (low, high) for name, (low, high) in _read_json(artifact / INTERVALS_FILE).items()}


def read_chance(artifact: Path) -> dict[str, float]:
    """What random answers give, by figure; empty of an evaluation that was made before this was written down."""
    path = artifact / CHANCE_FILE
    levels: dict[str, float] = _read_json(path) if path.exists() else {}
    return levels


def read_by_tag(artifact: Path) -> list[TagFigure]:
    """The figures of each tag, tags in alphabetical order and pairs without one last."""
    return [TagFigure(**row) for row in pq.read_table(needed(artifact / BY_TAG_FILE)).to_pylist()]


def read_differences(artifact: Path) -> dict[str, Difference]:
    """Every figure's difference from a differences artifact, by metric."""
    rows = (Difference(**row) for row in pq.read_table(needed(artifact / DIFFERENCES_FILE)).to_pylist())
    return {row.metric: row for row in rows}


def read_flips(
    artifact: Path, columns: Sequence[str] | None = None, pairs: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Rows of FLIPS from a `flips` artifact, in the order of the evaluation.

    Args:
        artifact: its folder.
        columns: which to read; None for all.
        pairs: identifiers of those to read; None for all.
    """
    filters = None if pairs is None else pc.field("pair_id").isin(pa.array([*pairs], pa.string()))
    table = pq.read_table(
        needed(artifact / FLIPS_FILE), columns=None if columns is None else [*columns], filters=filters
    )
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def read_changes_by_tag(artifact: Path) -> list[PartChange]:
    """Changes of a `flips` artifact by tag, tags in alphabetical order and pairs without one last."""
    return [PartChange(**row) for row in pq.read_table(needed(artifact / CHANGES_BY_TAG_FILE)).to_pylist()]


def read_changes_by_certainty(artifact: Path) -> list[PartChange]:
    """Changes of a `flips` artifact by how sure the first model was, the least sure third first."""
    return [PartChange(**row) for row in pq.read_table(needed(artifact / CHANGES_BY_CERTAINTY_FILE)).to_pylist()]


def read_margins(artifact: Path) -> list[MarginBin]:
    """How a `flips` artifact's margins are spread, bins from low to high."""
    return [MarginBin(**row) for row in pq.read_table(needed(artifact / MARGINS_FILE)).to_pylist()]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(needed(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"cannot read {path}: {error}; `uwm artifacts verify` says what has changed") from error
