"""An ablation over the settings of the method: what `ablation.json` holds."""

from pydantic import Field, FiniteFloat

from data_specs.run_config import MethodConfig, RunConfig
from data_specs.spec import Spec

AXES: tuple[str, ...] = ("scorer", "aggregation", "rule", "weight_by_magnitude", "layers", "limit", "seed")


class AblationPoint(Spec):
    """One way to score, select and edit."""

    label: str = Field(description="the values that tell it from the other points")
    axes: dict[str, str] = Field(description="axis -> value; without the axes that do not matter for its scorer")
    method: MethodConfig
    limit: int | None = Field(description="calibration samples used; null: all")
    seed: int

    def run_config(self, base: RunConfig) -> RunConfig:
        """The run that computes this point."""
        calibration = base.calibration.model_copy(update={"limit": self.limit})
        return base.with_method(self.method).model_copy(update={"calibration": calibration, "seed": self.seed})


class LeftOut(Spec):
    """A combination that was not computed, and why."""

    label: str
    axes: dict[str, str]
    reason: str


class AblationRow(Spec):
    """What one point measures, in percent by metric name."""

    point: AblationPoint
    values: dict[str, FiniteFloat]
    intervals: dict[str, tuple[FiniteFloat, FiniteFloat]] = Field(default_factory=dict, description="95 %, percent")
    n_selected: int | None = Field(default=None, ge=0, description="weights edited")
    versions: dict[str, str] = Field(default_factory=dict, description="role -> artifact version")


class Ablation(Spec):
    """All points in the order of the axes, what was left out, and the original model's figures."""

    name: str
    n_pairs: int = Field(ge=1)
    original: dict[str, FiniteFloat]
    rows: list[AblationRow]
    left_out: list[LeftOut] = Field(default_factory=list)
