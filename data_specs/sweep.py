"""A sweep over tau and alpha: what `sweep.json` holds."""

from pydantic import Field, FiniteFloat

from data_specs.metrics import ordered_metrics
from data_specs.spec import Spec

SWEEP_FILE, SWEEP_FIGURE_FILE = "sweep.json", "sweep.svg"


class SweepPoint(Spec):
    """One edit of the sweep and what it measures, in percent by metric name."""

    tau: FiniteFloat
    alpha: FiniteFloat
    values: dict[str, FiniteFloat]
    intervals: dict[str, tuple[FiniteFloat, FiniteFloat]] = Field(default_factory=dict, description="95 %, percent")
    n_selected: int = Field(ge=0, description="weights edited")
    edit: str = Field(description="version of the edit artifact")
    evaluation: str = Field(description="version of the evaluation artifact")


class Sweep(Spec):
    """All points, in rising tau for each alpha, and the original model's figures."""

    name: str
    n_pairs: int = Field(ge=1)
    encoders: list[str] = Field(description="whose tau and alpha are swept")
    original: dict[str, FiniteFloat]
    points: list[SweepPoint] = Field(min_length=1)
    limits: list[str] = Field(default_factory=list, description="limits that the chosen point keeps")
    chosen: int | None = Field(default=None, description="position in `points`")

    @property
    def metrics(self) -> list[str]:
        """Names of what was measured, in table order."""
        return ordered_metrics(self.original)

    def difference(self, point: SweepPoint, metric: str) -> float:
        """Points against the original."""
        return point.values[metric] - self.original[metric]
