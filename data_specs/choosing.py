"""How the best point of a sweep is chosen on some pairs and reported on others."""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from data_specs.figures import Difference
from data_specs.spec import Spec

ChooseBy = Literal["bound", "estimate"]
# From a share up to another; each id lies at its hash, which is between 0 and 1.
Span = tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]
ALL: Span = (0.0, 1.0)
_BYTES = 8
_END = float(1 << 8 * _BYTES)


def place_of(sample_id: str) -> float:
    """Where an id lies between 0 and 1: the first 8 bytes of its SHA-256 as a fraction, the same in every run."""
    return int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:_BYTES]) / _END


def within(sample_ids: Iterable[str], span: Span) -> list[bool]:
    """Which ids lie in a span; its lower end belongs to it, its upper end does not."""
    low, high = span
    return [low <= place_of(sample_id) < high for sample_id in sample_ids]


def too_few(span: Span) -> str:
    """Why a set has nothing in a span, and what to do."""
    return (
        f"none of its samples lies in the part from {span[0]:g} to {span[1]:g} that evaluation.choose_on sets apart; give more"
        " of them, another evaluation.choose_on, or null to choose and report on all"
    )


class Counted(Spec):
    """Which pairs and which images of zero-shot data sets an evaluation counts."""

    pairs: Span = ALL
    images: Span = ALL


EVERYTHING = Counted()


class Choice(Spec):
    """What a sweep's points were measured on to choose among them, and what the chosen one gives on other pairs."""

    by: ChooseBy = Field(description="how limits are kept: by the bound of a difference's interval, or by its estimate")
    share: float | None = Field(description="of the evaluation's pairs that chose; null: all, or shards of their own")
    own_shards: bool = Field(default=False, description="whether pairs of `selection.shards` chose")
    keeping: int = Field(ge=0, description="points that keep the limits")
    keeping_by_estimate: int = Field(ge=0, description="points that would, if estimates counted")
    n_reported: int | None = Field(default=None, ge=1, description="pairs that `reported` is measured on")
    reported: list[Difference] = Field(
        default_factory=list, description="the chosen point against the original on pairs that did not choose"
    )
    chance: dict[str, FiniteFloat] = Field(default_factory=dict, description="what random answers give there")

    @property
    def on_others(self) -> bool:
        """Whether what is reported is measured on other pairs than those that chose."""
        return self.share is not None or self.own_shards
