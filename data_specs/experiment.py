"""An experiment: models that were measured on the same pairs, one row each."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, Self, TypeVar

from pydantic import Field, FiniteFloat, JsonValue, model_validator

from data_specs.choosing import Choice
from data_specs.figures import Difference
from data_specs.metrics import METRICS, ZERO_SHOT, accuracy_name, find_metric
from data_specs.spec import Spec

Kind = Literal["comparison", "sweep", "ablation"]
Role = Literal["original", "method", "control", "paper"]

T = TypeVar("T")

ORIGINAL: Final = "original"
PAPER_COLUMNS: tuple[str, ...] = tuple(name for name, metric in METRICS.items() if metric.main)


def zero_shot_column(data_set: str) -> str:
    """The column of one zero-shot data set: its top-1 accuracy."""
    return accuracy_name(data_set, "acc1")


def comparison_columns(measured: Iterable[str]) -> list[str]:
    """The main metrics that were measured, in table order, then single zero-shot data sets as they come."""
    names = list(dict.fromkeys(measured))
    return [
        *(name for name, metric in METRICS.items() if metric.main and name in names),
        *(name for name in names if name.startswith(f"{ZERO_SHOT}.") and name.endswith(".acc1")),
    ]


def holm_adjusted(tests: Mapping[T, float]) -> dict[T, float]:
    """p of several tests, adjusted so that one below 0.05 among all of them is luck in 5 % of cases.

    Source: Holm 1979: of m tests the k-th smallest p is multiplied by m - k + 1, and no adjusted p is
    below one of a smaller p.
    """
    adjusted: dict[T, float] = {}
    highest = 0.0
    for rank, (name, p) in enumerate(sorted(tests.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, p * (len(tests) - rank)))
        adjusted[name] = highest
    return adjusted


class LeftOut(Spec):
    """A row that was not computed, and why."""

    label: str
    axes: dict[str, str]
    reason: str


class Row(Spec):
    """One model: where it stands on the experiment's axes, and its figures by metric, shares in percent."""

    name: str
    role: Role
    axes: dict[str, FiniteFloat | str] = Field(default_factory=dict, description="what tells it from other rows")
    values: dict[str, FiniteFloat]
    intervals: dict[str, tuple[FiniteFloat, FiniteFloat]] = Field(default_factory=dict, description="95 %")
    p_values: dict[str, float] = Field(default_factory=dict, description="McNemar's exact p against the original")
    differences: dict[str, tuple[FiniteFloat, FiniteFloat]] = Field(
        default_factory=dict,
        description="95 % intervals of points against the original, on the same pairs; limits ask them",
    )
    n_selected: int | None = Field(default=None, ge=0, description="weights edited")
    lead: Difference | None = Field(default=None, description="of GS over the row's own control, on the same pairs")
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="how the model was edited")
    versions: dict[str, str] = Field(default_factory=dict, description="role -> artifact version")

    @model_validator(mode="after")
    def _p_values_are_probabilities(self) -> Self:
        for metric, p in self.p_values.items():
            if not 0 <= p <= 1:
                raise ValueError(f"p of {metric} is {p}, expected 0 to 1")
        return self

    def at(self, axis: str) -> float:
        """Where it stands on an axis of numbers."""
        return float(self.axes[axis])


class Experiment(Spec):
    """Rows in table order, the original first."""

    kind: Kind
    name: str
    n_pairs: int = Field(ge=1)
    columns: list[str] = Field(description="metric names, in table order")
    rows: list[Row] = Field(min_length=1)
    encoders: list[str] = Field(default_factory=list, description="whose settings the axes change")
    left_out: list[LeftOut] = Field(default_factory=list)
    chance: dict[str, FiniteFloat] = Field(default_factory=dict, description="what random answers give, by metric")
    limits: list[str] = Field(default_factory=list, description="limits that the chosen point keeps")
    chosen: int | None = Field(default=None, description="position in `points`")
    choice: Choice | None = Field(
        default=None, description="how that point was chosen, and what it gives on other pairs"
    )

    @property
    def original(self) -> dict[str, float]:
        """The unedited model's figures."""
        return self.rows[0].values

    @property
    def axes(self) -> list[str]:
        """On what its points stand, the taus first."""
        return list(dict.fromkeys(axis for row in self.points for axis in row.axes))

    @property
    def points(self) -> list[Row]:
        """All but the first row."""
        return self.rows[1:]

    def difference(self, row: Row, metric: str) -> float | None:
        """Points against the original; None where either lacks the figure."""
        if metric not in row.values or metric not in self.original:
            return None
        return row.values[metric] - self.original[metric]

    def best(self, column: str) -> list[int]:
        """Positions of the rows with the best figure; the paper's rows, and of points the original, take no part.

        Figures that look the same in the table are equal: who reads two of them must not find one in bold.
        """
        metric = find_metric(column)
        figures = {
            position: float(metric.shown(row.values[column]))
            for position, row in enumerate(self.rows)
            if row.role != "paper" and (position or self.kind == "comparison") and column in row.values
        }
        return [position for position, figure in figures.items() if figure == metric.best(figures.values())]

    @property
    def adjusted_p_values(self) -> dict[tuple[int, str], float]:
        """p by row position and column, adjusted over all tests of the table."""
        return holm_adjusted(
            {
                (position, column): p
                for position, row in enumerate(self.rows)
                for column, p in row.p_values.items()
                if column in self.columns
            }
        )
