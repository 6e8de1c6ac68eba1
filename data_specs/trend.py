"""A figure that got worse little by little over several nights."""

from pydantic import Field

from data_specs.figures import Interval
from data_specs.spec import Spec


class Slide(Spec):
    """One metric of a model on a set that surely got worse over the latest nights, in no single one of them most of the way."""

    metric: str
    since: str = Field(description="first of the nights")
    until: str = Field(description="last of them")
    n_nights: int = Field(ge=4)
    n: int = Field(ge=1, description="pairs, captions or images that the change is of")
    first: float = Field(description="figure of the first night")
    last: float
    change: float = Field(description="last less first, in points")
    interval: Interval = Field(description="95 %, of the change")
    slope: float = Field(description="of a straight line, in points a night")
    slope_interval: Interval = Field(description="95 %")
    p: float = Field(
        ge=0, le=1, description="two-sided, that the slope is 0, times how many spans of nights were looked at"
    )
    paired: bool = Field(description="on the same pairs in all nights; else each night is a sample of its own")
    sentence: str = Field(description="what happened, for a person")
