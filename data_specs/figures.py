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
