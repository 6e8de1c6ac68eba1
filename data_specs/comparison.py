"""A comparison of several models measured on the same pairs: what `comparison.json` holds."""

from typing import Literal

from pydantic import Field, JsonValue

from data_specs.spec import Spec

Role = Literal["original", "method", "control", "paper"]


class ComparisonRow(Spec):
    """One model: figures in percent by metric name."""

    name: str
    role: Role
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict, description="95 %, percent")
    p_values: dict[str, float] = Field(default_factory=dict, description="McNemar's exact p against the original")
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="how the model was edited")
    versions: dict[str, str] = Field(default_factory=dict, description="role -> artifact version")


class Comparison(Spec):
    """Rows in table order, the original first."""

    name: str
    n_pairs: int = Field(ge=1)
    columns: list[str] = Field(description="metric names, in the paper's order")
    rows: list[ComparisonRow] = Field(min_length=1)
