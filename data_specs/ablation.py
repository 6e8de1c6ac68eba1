"""An ablation's axes over the settings of the method, and its points."""

from pydantic import Field, JsonValue

from data_specs.run_config import MethodConfig, RunConfig
from data_specs.spec import Spec

AXES: tuple[str, ...] = ("scorer", "aggregation", "rule", "weight_by_magnitude", "layers", "limit", "seed", "sign")


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

    @property
    def settings(self) -> dict[str, JsonValue]:
        """What tells it from other points of the same run."""
        settings: dict[str, JsonValue] = self.model_dump(mode="json", include={"limit", "seed"})
        method: dict[str, JsonValue] = {"text": None, "vision": None}
        method |= {encoder: chosen.acting for encoder, chosen in self.method.edited.items()}
        return {"method": method, **settings}
