"""The files of which a report is made."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from data_specs import evaluation_files
from data_specs.comparison import COMPARISON_FILE, Comparison
from data_specs.errors import ArtifactError
from data_specs.evaluation_files import BY_TAG_FILE, DIFFERENCES_FILE, INTERVALS_FILE
from data_specs.figures import Difference
from data_specs.gallery import Gallery
from data_specs.spec import Spec
from data_specs.sweep import SWEEP_FIGURE_FILE, SWEEP_FILE, Sweep

GALLERY_FILE = "gallery.json"

Interval = tuple[float, float]
AnySpec = TypeVar("AnySpec", bound=Spec)


@dataclass(frozen=True)
class Figure:
    """A figure in percent, with its 95 % interval where there is one."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class TagFigures:
    """One tag's figures by metric, with how many pairs carry the tag; None for pairs without one."""

    tag: str | None
    n_pairs: int
    figures: dict[str, Figure]


@dataclass(frozen=True)
class Sources:
    """Folders of artifacts: the evaluation of each model, and what else the run has made."""

    summary: Path
    evaluations: dict[str, Path]
    versions: dict[str, str] = field(default_factory=dict)
    differences: dict[str, Path] = field(default_factory=dict)
    comparison: Path | None = None
    sweep: Path | None = None
    gallery: Path | None = None


def read_intervals(evaluation: Path) -> dict[str, Interval]:
    """95 % intervals in percent by metric; a metric may be without one."""
    _require(evaluation / INTERVALS_FILE)
    return evaluation_files.read_intervals(evaluation)


def read_tags(evaluation: Path) -> list[TagFigures]:
    """Figures of each tag, tags in the order of the table."""
    _require(evaluation / BY_TAG_FILE)
    tags: dict[str | None, TagFigures] = {}
    for row in evaluation_files.read_by_tag(evaluation):
        figures = tags.setdefault(row.tag, TagFigures(row.tag, row.n_pairs, {})).figures
        figures[row.metric] = Figure(row.value, (row.low, row.high))
    return list(tags.values())


def read_differences(artifact: Path) -> dict[str, Difference]:
    """How a model differs from the original on the same pairs, by metric."""
    _require(artifact / DIFFERENCES_FILE)
    return evaluation_files.read_differences(artifact)


def read_comparison(artifact: Path) -> Comparison:
    """The comparison that an artifact holds."""
    return _parse(Comparison, artifact / COMPARISON_FILE)


def read_sweep(artifact: Path) -> tuple[Sweep, bytes]:
    """The sweep that an artifact holds, and its figure (SVG)."""
    return _parse(Sweep, artifact / SWEEP_FILE), _read(artifact / SWEEP_FIGURE_FILE)


def read_gallery(artifact: Path) -> Gallery:
    """The gallery that an artifact holds; its thumbnails lie beside."""
    return _parse(Gallery, artifact / GALLERY_FILE)


def read_thumbnail(artifact: Path, name: str) -> bytes:
    """A JPEG of a gallery."""
    return _read(artifact / name)


def _parse(spec: type[AnySpec], path: Path) -> AnySpec:
    try:
        return spec.model_validate_json(_read(path))
    except ValidationError as error:
        what = error.errors()[0]
        raise ArtifactError(
            f"{path} is no {spec.__name__.lower()}: {'.'.join(str(part) for part in what['loc'])}: {what['msg']};"
            " remove the artifact's folder to have it made anew"
        ) from error


def _read(path: Path) -> bytes:
    _require(path)
    return path.read_bytes()


def _require(path: Path) -> None:
    if not path.is_file():
        raise ArtifactError(
            f"the report needs {path.name}, but there is none in {path.parent}; remove that folder to have it made anew"
        )
