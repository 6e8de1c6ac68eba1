"""Gates: what a watched model's figures must hold, and what became of each in one night."""

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from data_specs.caption_metrics import DISTINCT, find_figure
from data_specs.errors import SpecError
from data_specs.fields import only_numbers
from data_specs.spec import Spec

GateRule = Literal["min", "max", "min_change", "max_change"]
GATE_RULES: tuple[GateRule, ...] = ("min", "max", "min_change", "max_change")
GateOutcome = Literal["pass", "fail", "unsure", "not_comparable"]
PFrom = Literal["mcnemar", "binomial", "trinomial", "interval"]
_KEY = re.compile(r"(?P<metric>[^\[\]]+)(?:\[tag=(?P<tag>[^\[\]]+)\])?")


class GateLimits(Spec):
    """Limits of one metric, each a gate of its own; figures in the metric's unit, changes in points of it."""

    min: float | None = Field(default=None, allow_inf_nan=False, description="the figure itself is at least this")
    max: float | None = Field(default=None, allow_inf_nan=False, description="the figure itself is at most this")
    min_change: float | None = Field(
        default=None, allow_inf_nan=False, description="figure less the baseline's on the same pairs is at least this"
    )
    max_change: float | None = Field(default=None, allow_inf_nan=False, description="it is at most this")
    models: list[str] | None = Field(default=None, min_length=1, description="only for these; null: all models")
    sets: list[str] | None = Field(default=None, min_length=1, description="only on these; null: all sets")

    _numbers = field_validator("min", "max", "min_change", "max_change", mode="before")(
        lambda value: None if value is None else only_numbers(value)
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.rules:
            raise ValueError(f"gives no limit; give one or more of {', '.join(GATE_RULES)}")
        for low, high in ((self.min, self.max), (self.min_change, self.max_change)):
            if low is not None and high is not None and low > high:
                raise ValueError(f"the lower limit {low:g} is above the upper limit {high:g}")
        return self

    @property
    def rules(self) -> dict[GateRule, float]:
        """The limits that are given."""
        return {rule: limit for rule in GATE_RULES if (limit := getattr(self, rule)) is not None}


class Gate(Spec):
    """One limit of one metric, over all pairs or those of a tag."""

    metric: str
    tag: str | None = None
    rule: GateRule
    limit: float

    @property
    def of_change(self) -> bool:
        """Whether it looks at the change from the baseline, and not at the figure alone."""
        return self.rule in ("min_change", "max_change")

    @property
    def is_lower(self) -> bool:
        """Whether the limit is the least that passes, and not the most."""
        return self.rule in ("min", "min_change")

    @property
    def figure(self) -> str:
        """Metric and tag as a watch names them, such as `GS[tag=violence]`."""
        return self.metric if self.tag is None else f"{self.metric}[tag={self.tag}]"

    @property
    def name(self) -> str:
        """What it is called in tables, such as `GS min_change -1`."""
        return f"{self.figure} {self.rule} {self.limit:g}"


def gate_metric(key: str) -> tuple[str, str | None]:
    """Metric and tag of a key of `gates`, such as `GS` or `GS[tag=violence]`.

    Raises:
        SpecError: it is none, or the metric is not known, or none that is given by tag.
    """
    found = _KEY.fullmatch(key)
    if found is None:
        raise SpecError(f"{key!r} names no figure; expected METRIC or METRIC[tag=TAG], such as GS[tag=violence]")
    metric, tag = found["metric"], found["tag"]
    row = find_figure(metric)
    if row.of == "caption" and metric.startswith(f"{DISTINCT}."):
        raise SpecError(f"{metric} has no interval, so that no gate can be sure of it; leave it out")
    if tag is not None and (row.of == "image" or not row.main):
        raise SpecError(f"{metric} is not measured by tag; leave [tag=…] out")
    return metric, tag


class TagChange(Spec):
    """What a metric did on the pairs of one tag, beside a gate that failed."""

    tag: str | None = Field(description="null: pairs without a tag")
    n: int = Field(ge=1)
    change: float = Field(description="from the baseline, in points")
    low: float = Field(description="of its 95 % interval")
    high: float


class GateResult(Spec):
    """What became of one gate for one model on one set."""

    gate: Gate
    outcome: GateOutcome
    n: int = Field(ge=0, description="pairs, captions or images that were compared")
    value: float | None = Field(default=None, description="of the model; null where it was not measured")
    baseline: float | None = Field(default=None, description="of the baseline on the same pairs")
    change: float | None = Field(default=None, description="value less baseline, in points")
    low: float | None = Field(default=None, description="of the 95 % interval of what is held against the limit")
    high: float | None = None
    p: float | None = Field(
        default=None, description="two-sided, that what is held against the limit is the limit itself"
    )
    p_from: PFrom | None = Field(
        default=None,
        description="mcnemar: exact, limit 0; binomial: exact, of the figure itself; trinomial: of few that changed;"
        " interval: how wide it would be to reach the limit",
    )
    p_adjusted: float | None = Field(default=None, description="by Holm over all gates of the night")
    n_gained: int | None = Field(default=None, description="right in the model only")
    n_lost: int | None = Field(default=None, description="right in the baseline only")
    settles_at: int | None = Field(default=None, description="about how many pairs would settle an unsure gate")
    detectable: float | None = Field(
        default=None, description="points beyond the limit that so many pairs show with a chance of 80 %"
    )
    reasons: list[str] = Field(default_factory=list, description="why it is not comparable, a sentence each")
    worst_tags: list[TagChange] = Field(default_factory=list, description="the largest falls first")
    sentence: str = Field(description="what happened, for a person")


def gates_of(limits: dict[str, GateLimits], model: str, on: str) -> list[Gate]:
    """The gates that hold for a model on a set, in the order of the watch."""
    found = []
    for key, given in limits.items():
        metric, tag = gate_metric(key)
        if (given.models is None or model in given.models) and (given.sets is None or on in given.sets):
            found += [Gate(metric=metric, tag=tag, rule=rule, limit=limit) for rule, limit in given.rules.items()]
    return found


def checked_gates(value: Any) -> Any:
    """Refuse keys that name no figure; for a validator of `gates`.

    Raises:
        ValueError: a key names none.
    """
    for key in value if isinstance(value, dict) else ():
        try:
            gate_metric(str(key))
        except SpecError as error:
            raise ValueError(str(error)) from error
    return value
