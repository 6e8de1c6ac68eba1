"""What two sets of shards share, as an `overlap` artifact holds it."""

from pathlib import Path

from pydantic import Field

from data_specs.reading import read_spec
from data_specs.spec import Spec

OVERLAP_FILE = "overlap.json"


class Contents(Spec):
    """What one set of shards holds."""

    n_shards: int
    n_images: int
    n_captions: int
    repeated_images: int = Field(description="members whose bytes came before in the same set")
    repeated_captions: int = Field(description="captions whose text came before in the same set")


class Overlap(Spec):
    """How far calibration and evaluation are apart; the two sets may share bytes under any names."""

    calibration: Contents
    evaluation: Contents
    shared_shards: int = Field(description="equal as files")
    shared_images: int = Field(description="members of the evaluation whose bytes are in the calibration, too")
    shared_captions: int = Field(description="captions of the evaluation whose text is in the calibration, too")

    @property
    def sentences(self) -> list[str]:
        """What a reader of figures must know; nothing where the sets are apart and hold nothing twice."""
        told = []
        shared = {"shards": self.shared_shards, "pictures": self.shared_images, "captions": self.shared_captions}
        if any(shared.values()):
            listed = ", ".join(f"{n:,} {what}" for what, n in shared.items() if n)
            told.append(
                f"Calibration and evaluation share {listed} (of {self.evaluation.n_images:,} pictures and"
                f" {self.evaluation.n_captions:,} captions that figures are measured on): weights were chosen on what they are"
                " judged by, so the figures flatter the edit."
            )
        for name, held in (("evaluation", self.evaluation), ("calibration", self.calibration)):
            repeated = {"pictures": held.repeated_images, "captions": held.repeated_captions}
            if any(repeated.values()):
                listed = " and ".join(f"{n:,} {what}" for what, n in repeated.items() if n)
                more = "; intervals take them for new ones and are too narrow" if name == "evaluation" else ""
                told.append(f"{listed} of the {name} pairs were there before among them{more}.")
        return told


def read_overlap(artifact: Path) -> Overlap:
    """The content of an `overlap` artifact.

    Raises:
        ArtifactError: its file is missing or holds something else.
    """
    return read_spec(Overlap, artifact / OVERLAP_FILE)
