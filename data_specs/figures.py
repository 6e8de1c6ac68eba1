"""Figures with what is known of their uncertainty, as rows of Parquet hold them."""

from pydantic import Field

from data_specs.spec import Spec

Interval = tuple[float, float]  # lower and upper bound


class TagFigure(Spec):
    """One metric over the pairs of one tag, in percent."""

    tag: str | None = Field(description="null: pairs without a tag")
    n_pairs: int = Field(ge=1)
    metric: str
    value: float
    low: float = Field(description="of the 95 % interval")
    high: float


class Difference(Spec):
    """One metric of two models that were measured on the same pairs."""

    metric: str
    n: int = Field(ge=1, description="pairs, or images of all data sets that the figure is of")
    first: float = Field(description="percent")
    second: float = Field(description="percent")
    difference: float = Field(description="second less first, in points")
    low: float = Field(description="of the difference's 95 % interval, in points")
    high: float
    n_gained: int = Field(ge=0, description="pairs or images that are right in the second only")
    n_lost: int = Field(ge=0, description="right in the first only")
    p: float | None = Field(description="McNemar's exact p; null where the figure is a mean of several shares")


class PartChange(Spec):
    """One metric of two models on a part of the pairs: those of a tag, or a third of all by how sure the first model was."""

    tag: str | None = Field(default=None, description="null: pairs without a tag, or not a part by tag")
    third: int | None = Field(default=None, ge=1, le=3, description="1: least sure; null: not a part by certainty")
    least: float | None = Field(default=None, description="smallest absolute margin of the first model in this third")
    most: float | None = Field(default=None, description="the largest of them")
    n_pairs: int = Field(ge=1)
    metric: str
    first: float = Field(description="percent")
    first_low: float = Field(description="of the 95 % interval, as all that end so")
    first_high: float
    second: float
    second_low: float
    second_high: float
    difference: float = Field(description="second less first, in points")
    difference_low: float
    difference_high: float
    n_gained: int = Field(ge=0)
    n_lost: int = Field(ge=0)
    p: float = Field(ge=0, le=1, description="McNemar's exact p")


class MarginBin(Spec):
    """How many pairs have a margin in a range, before or after."""

    preference: str
    model: str = Field(pattern="^(first|second)$")
    low: float
    high: float
    n: int = Field(ge=0)
