"""The files of which a report is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data_specs.evaluation_files import read_by_tag
from data_specs.experiment import Kind
from data_specs.figures import Interval
from data_specs.manifest import Manifest

GALLERY_FILE = "gallery.json"


@dataclass(frozen=True)
class ShownFigure:
    """A figure, with its 95 % interval where there is one."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class TagFigures:
    """One tag's figures by metric, with how many pairs carry the tag; None for pairs without one."""

    tag: str | None
    n_pairs: int
    figures: dict[str, ShownFigure]


@dataclass(frozen=True)
class Sources:
    """Folders of artifacts: the evaluation of each model, and what else the run has made."""

    summary: Path
    evaluations: dict[str, Path]
    versions: dict[str, str] = field(default_factory=dict)
    differences: dict[str, Path] = field(default_factory=dict)
    experiments: Mapping[Kind, Path] = field(default_factory=dict)
    gallery: Path | None = None
    edit: Manifest | None = None
    lead: Path | None = None  # differences of the second model from its control
    overlap: Path | None = None
    signs: Mapping[str, object] = field(default_factory=dict)  # sign filters of the run's edit, by encoder


def read_tags(evaluation: Path) -> list[TagFigures]:
    """Figures of each tag, tags in the order of the table."""
    tags: dict[str | None, TagFigures] = {}
    for row in read_by_tag(evaluation):
        figures = tags.setdefault(row.tag, TagFigures(row.tag, row.n_pairs, {})).figures
        figures[row.metric] = ShownFigure(row.value, (row.low, row.high))
    return list(tags.values())
