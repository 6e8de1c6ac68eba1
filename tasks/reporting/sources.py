"""The files of which a report is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_specs.evaluation_files import read_by_tag
from data_specs.experiment import Kind
from data_specs.figures import Interval
from data_specs.manifest import ArtifactRef, Manifest

GALLERY_FILE = "gallery.json"
FLIP_GALLERY_FILE = "flips.json"
CAPTION_GALLERY_FILE = "captions.json"


@dataclass(frozen=True)
class ModelName:
    """How a run's settings name its model, and the digests of what that was."""

    architecture: str
    weights: str | None
    tensors: str  # SHA-256 over all tensors
    file: str | None = None  # SHA-256 of the weights' file, where they lie in one


@dataclass(frozen=True)
class ReportedCaptions:
    """What a run's captions are reported by: a `caption_evaluation` by model, the original's first, and how they differ.

    `differences` are from the original, the edited model's first, `lead` how the edited model's differ from its control's. `evaluations` and `changes`
    are SafeGround's of the same models, where it was measured.
    """

    captions: Mapping[str, ArtifactRef]
    differences: Mapping[str, ArtifactRef] = field(default_factory=dict)
    lead: ArtifactRef | None = None
    gallery: ArtifactRef | None = None
    evaluations: Mapping[str, ArtifactRef] = field(default_factory=dict)
    changes: Mapping[str, ArtifactRef] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, ArtifactRef]:
        """All artifacts by role."""
        single = {"caption_differences.over_control": self.lead, "gallery.captions": self.gallery}
        return {
            **{f"evaluation.{model}": ref for model, ref in self.evaluations.items()},
            **{f"differences.{model}": ref for model, ref in self.changes.items()},
            **{f"caption_evaluation.{model}": ref for model, ref in self.captions.items()},
            **{f"caption_differences.{model}": ref for model, ref in self.differences.items()},
            **{role: ref for role, ref in single.items() if ref is not None},
        }


@dataclass(frozen=True)
class Reported:
    """The artifacts that a report shows: evaluations by model, the original first, captions, and what else there is.

    `differences` from the original and `flips`, by model, add intervals, tests and single pairs; experiments
    and galleries each add a section. `edit` is of the second model, and `lead` how that differs from its
    control. `overlap` is what calibration and evaluation pairs share, `model` what was edited.
    """

    evaluations: Mapping[str, ArtifactRef]
    scores: ArtifactRef | None = None
    differences: Mapping[str, ArtifactRef] = field(default_factory=dict)
    experiments: Sequence[ArtifactRef] = ()
    gallery: ArtifactRef | None = None
    edit: ArtifactRef | None = None
    lead: ArtifactRef | None = None
    overlap: ArtifactRef | None = None
    flips: Mapping[str, ArtifactRef] = field(default_factory=dict)
    flip_gallery: ArtifactRef | None = None
    model: ModelName | None = None
    captions: ReportedCaptions | None = None

    @property
    def inputs(self) -> dict[str, ArtifactRef]:
        """All artifacts by role."""
        single = {
            "scores": self.scores,
            "gallery": self.gallery,
            "gallery.flips": self.flip_gallery,
            "edit": self.edit,
            "differences.over_control": self.lead,
            "overlap": self.overlap,
        }
        return {
            **(self.captions.inputs if self.captions else {}),
            **{f"evaluation.{model}": ref for model, ref in self.evaluations.items()},
            **{f"differences.{model}": ref for model, ref in self.differences.items()},
            **{f"flips.{model}": ref for model, ref in self.flips.items()},
            **{ref.kind: ref for ref in self.experiments},
            **{role: ref for role, ref in single.items() if ref is not None},
        }


@dataclass(frozen=True)
class BoxRow:
    """What a report says of one thing that it reports on, a sentence or value a line."""

    name: str
    lines: list[str]


@dataclass(frozen=True)
class ShownFigure:
    """A figure, with its 95 % interval where there is one."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class ShownDifference:
    """Points against the original, and with `gain` above 0 better; with the interval and p where the same pairs were compared one by one."""

    value: float
    gain: float
    interval: Interval | None = None
    p: str | None = None


@dataclass(frozen=True)
class TagFigures:
    """One tag's figures by metric, with how many pairs carry the tag; None for pairs without one."""

    tag: str | None
    n_pairs: int
    figures: dict[str, ShownFigure]


@dataclass(frozen=True)
class CaptionSources:
    """Folders of artifacts of captions by model, the original first; see `ReportedCaptions`."""

    captions: Mapping[str, Path]
    differences: Mapping[str, Path]
    lead: Path | None = None
    gallery: Path | None = None
    evaluations: Mapping[str, Path] = field(default_factory=dict)
    changes: Mapping[str, Path] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)  # what a model is, such as a control


@dataclass(frozen=True)
class Sources:
    """Folders of artifacts: the evaluation of each model, and what else the run has made."""

    evaluations: dict[str, Path]
    summary: Path | None = None
    box: Sequence[BoxRow] = ()
    versions: dict[str, str] = field(default_factory=dict)
    differences: dict[str, Path] = field(default_factory=dict)
    experiments: Mapping[Kind, Path] = field(default_factory=dict)
    gallery: Path | None = None
    edit: Manifest | None = None
    lead: Path | None = None  # differences of the second model from its control
    overlap: Path | None = None
    flips: Mapping[str, Path] = field(default_factory=dict)
    flip_gallery: Path | None = None
    controls: frozenset[str] = frozenset()  # models whose edit was drawn at random
    signs: Mapping[str, object] = field(default_factory=dict)  # sign filters of the run's edit, by encoder
    captions: CaptionSources | None = None


def read_tags(evaluation: Path) -> list[TagFigures]:
    """Figures of each tag, tags in the order of the table."""
    tags: dict[str | None, TagFigures] = {}
    for row in read_by_tag(evaluation):
        figures = tags.setdefault(row.tag, TagFigures(row.tag, row.n_pairs, {})).figures
        figures[row.metric] = ShownFigure(row.value, (row.low, row.high))
    return list(tags.values())


def display_name(model: str) -> str:
    """A model's name as the page shows it."""
    return model.replace("_", " ")
