"""Figures of captions as Parquet and JSON hold them, and how to read them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, FiniteFloat

from data_specs.caption_rows import CAPTION_CHANGES_FILE, CAPTION_FIGURES_FILE, JUDGES_FILE, judge_column
from data_specs.evaluation_files import CAPTION_OUTCOMES_FILE
from data_specs.reading import needed, read_spec
from data_specs.spec import Spec


class CaptionFigure(Spec):
    """One figure of one side's captions: a share in percent, or a mean."""

    metric: str
    n: int = Field(ge=1, description="captions that it is defined for")
    value: FiniteFloat
    low: FiniteFloat | None = Field(description="of the 95 % interval; null where resamples say nothing")
    high: FiniteFloat | None


class CaptionChange(Spec):
    """One figure of two models' captions of the same pictures."""

    metric: str
    n: int = Field(ge=1, description="pictures whose two captions it is defined for")
    first: FiniteFloat
    second: FiniteFloat
    difference: FiniteFloat = Field(description="second less first")
    low: FiniteFloat | None = Field(description="of the difference's 95 % interval; null where resamples say nothing")
    high: FiniteFloat | None
    n_gained: int = Field(ge=0, description="pictures where it rose")
    n_lost: int = Field(ge=0, description="where it fell")
    p: FiniteFloat | None = Field(description="McNemar's exact p; null of means")


class JudgesAgreement(Spec):
    """How far two judges of the same captions agree."""

    first: str
    second: str
    n: int = Field(ge=0, description="captions that both decide")
    agreement: FiniteFloat | None = Field(description="percent of them; null of none")
    kappa: FiniteFloat | None = Field(description="Cohen's; null of none, and where each says one word of all")
    table: dict[str, int] = Field(description="such as `safe/unsafe`: how often the pair of outcomes occurs")


class JudgesSaid(Spec):
    """What judges say of a model's captions."""

    outcomes: dict[str, dict[str, dict[str, int]]] = Field(description="by judge, side of the pictures and outcome")
    agreement: list[JudgesAgreement]


def read_caption_figures(artifact: Path) -> dict[str, CaptionFigure]:
    """Every figure of a `caption_evaluation` artifact, in the order of the catalogue, judges last."""
    rows = (CaptionFigure(**row) for row in pq.read_table(needed(artifact / CAPTION_FIGURES_FILE)).to_pylist())
    return {row.metric: row for row in rows}


def read_caption_changes(artifact: Path) -> dict[str, CaptionChange]:
    """Every figure's difference from a `caption_differences` artifact, in the same order."""
    rows = (CaptionChange(**row) for row in pq.read_table(needed(artifact / CAPTION_CHANGES_FILE)).to_pylist())
    return {row.metric: row for row in rows}


def read_judges(artifact: Path) -> JudgesSaid:
    """How often judges decide what in a `caption_evaluation` artifact, and how far two of them agree."""
    return read_spec(JudgesSaid, artifact / JUDGES_FILE)


def read_caption_outcomes(artifact: Path) -> pa.Table:
    """Rows of `caption_outcomes_schema` of a `caption_evaluation` artifact, one for each caption."""
    return pq.read_table(needed(artifact / CAPTION_OUTCOMES_FILE))


def judges_of(outcomes: pa.Table) -> list[str]:
    """Judges that have a column in rows of `caption_outcomes_schema`."""
    beginning = judge_column("")
    return [name.removeprefix(beginning) for name in outcomes.column_names if name.startswith(beginning)]
