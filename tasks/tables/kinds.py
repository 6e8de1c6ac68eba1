"""What each kind of experiment shows, a row a kind; a further kind is a further row."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_specs.ablation import AXES
from data_specs.experiment import Experiment, Kind
from data_specs.metrics import ZERO_SHOT

# Of a sweep's figure and of its table in the report, as in the paper's figure 5, and PS, beside which GS must be read.
PANELS: tuple[str, ...] = ("Vs-Ts", "Txt_s", "Img_s", "PS", "GS", ZERO_SHOT)
# A column of its own only where a row stands on it.
_RARE_AXES = ("sign", "tau", "text_tau", "vision_tau")
POINT_SUFFIXES = ("", "_low", "_high", "_difference")


@dataclass(frozen=True)
class Presentation:
    """Which files a kind has and what its tables hold."""

    title: str  # on a terminal
    section: str  # in the report, and the label of its table
    label: str
    files: tuple[str, ...]
    lead: tuple[str, ...]  # columns before the metrics in the tables for programs
    tail: tuple[str, ...] = ()  # and behind them
    suffixes: tuple[str, ...] = POINT_SUFFIXES  # columns of each metric
    required: tuple[str, ...] = ()  # never null
    metadata: tuple[str, ...] = ("name", "n_pairs", "original")
    head: tuple[str, ...] = ("model",)  # columns before the metrics in documents
    brief: tuple[str, ...] = ()  # metrics on a terminal; none: all


KINDS: dict[Kind, Presentation] = {
    "comparison": Presentation(
        title="",
        section="Methods and controls",
        label="Comparison of methods and controls",
        files=("json", "csv", "md", "tex"),
        lead=("name", "role", "n_pairs"),
        tail=("settings", "versions"),
        suffixes=("", "_low", "_high", "_p", "_p_holm"),
    ),
    "sweep": Presentation(
        title="sweep of {encoders}",
        section="Sweep over {axes}",
        label="Points of the sweep",
        files=("json", "parquet", "csv", "svg"),
        lead=("tau", "text_tau", "vision_tau", "alpha", "n_selected", "chosen"),
        tail=("edit", "evaluation"),
        required=("tau", "text_tau", "vision_tau", "alpha", "n_selected", "chosen", "edit", "evaluation"),
        metadata=("name", "n_pairs", "encoders", "original", "limits"),
        head=("tau", "text_tau", "vision_tau", "alpha", "weights"),
        brief=(ZERO_SHOT, "Vs-Ts", "Txt_s", "Img_s", "PS", "GS"),
    ),
    "ablation": Presentation(
        title="ablation",
        section="Ablation",
        label="Ablation of the method's settings",
        files=("json", "parquet", "csv", "md"),
        lead=("label", *AXES, "n_selected", "left_out"),
        required=("label",),
        head=AXES,
        brief=(ZERO_SHOT, "Ts-Vs", "Txt_s", "Img_s", "PS", "GS"),
    ),
}


def columns_used(names: Sequence[str], experiment: Experiment) -> list[str]:
    """Of the columns before the metrics those that every table has, and rarer axes where a row stands on them."""
    axes = {axis for row in experiment.rows for axis in row.axes}
    axes |= {axis for item in experiment.left_out for axis in item.axes}
    return [name for name in names if name not in _RARE_AXES or name in axes]
