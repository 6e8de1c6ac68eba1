"""A sweep over tau and alpha: its figure, its points, and the chosen one in words."""

import base64
from dataclasses import dataclass

from data_specs.metrics import ZERO_SHOT
from data_specs.sweep import Sweep, SweepPoint

# The metrics of the paper's figure 5.
_SHOWN = ("Vs-Ts", "Txt_s", "Img_s", "GS", ZERO_SHOT)


@dataclass(frozen=True)
class SweepSection:
    """What the report shows of a sweep; `figure` is a data: URI."""

    figure: str
    verdict: str
    encoders: str
    n_pairs: int
    columns: list[str]
    original: dict[str, float]
    points: list[SweepPoint]
    chosen: int | None


def sweep_section(sweep: Sweep, figure: bytes) -> SweepSection:
    """Gather the section.

    The figure goes in as a picture, not as markup: its style rules and ids would act on the page.
    """
    return SweepSection(
        figure="data:image/svg+xml;base64," + base64.b64encode(figure).decode("ascii"),
        verdict=sweep_verdict(sweep),
        encoders=_encoders(sweep),
        n_pairs=sweep.n_pairs,
        columns=[metric for metric in _SHOWN if metric in sweep.original],
        original=sweep.original,
        points=sweep.points,
        chosen=sweep.chosen,
    )


def sweep_verdict(sweep: Sweep) -> str:
    """The chosen point in words, or why there is none."""
    limits = " and ".join(sweep.limits)
    if sweep.chosen is None:
        return f"None of the {len(sweep.points)} points keeps {limits}." if limits else "No point was chosen."
    point = sweep.points[sweep.chosen]
    metrics = [metric for metric in ("GS", ZERO_SHOT) if metric in point.values and metric in sweep.original]
    changes = " and ".join(_change(metric, point, sweep.original) for metric in metrics)
    kept = f" It has the best GS of the points that keep {limits}." if limits else ""
    return (
        f"Chosen: tau {point.tau:g}, alpha {point.alpha:g} ({_encoders(sweep)}), which edits {point.n_selected:,} weights"
        f"{' and gives ' if changes else ''}{changes}.{kept}"
    )


def _change(metric: str, point: SweepPoint, original: dict[str, float]) -> str:
    value = point.values[metric]
    interval = point.intervals.get(metric)
    sure = f", 95 % interval {interval[0]:.1f} to {interval[1]:.1f}" if interval else ""
    name = "zero-shot accuracy" if metric == ZERO_SHOT else metric
    return f"{name} {value:.1f} % ({value - original[metric]:+.1f} points{sure})"


def _encoders(sweep: Sweep) -> str:
    return f"{' and '.join(sweep.encoders)} encoder{'s' if len(sweep.encoders) > 1 else ''}"
