"""What methods gained over training seeds, for people and for programs: by seed and pooled, each with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

N_RESAMPLES = 2_000
FIGURES = ("GS", "PS", "zero_shot")
# Better first; whether the sign alone does as much as ranking and sign is the second line.
COMPARED = (
    ("random + sign", "UWM, score_mass"),
    ("UWM + sign", "random + sign"),
    ("UWM + sign", "random + sign, as many as UWM + sign"),
    ("UWM + sign", "magnitude + sign"),
    ("UWM + sign", "UWM, score_mass"),
)

Outcomes = dict[str, np.ndarray]
Figure = dict[str, float]


@dataclass(frozen=True)
class SeedOutcomes:
    """What became of the pairs that one seed is reported on: GS and PS a pair, zero-shot an image, 0 to 1."""

    seed: int
    subtle: np.ndarray  # pairs whose danger shows in the object alone
    original: Outcomes
    methods: dict[str, Outcomes]
    budgets: dict[str, tuple[float, float]]  # of the text and of the vision encoder


def in_percent(samples: Sequence[np.ndarray]) -> Figure:
    """The mean over seeds of each seed's mean, and 95 % of it over pairs drawn again within seeds; not over other seeds."""
    rng = np.random.default_rng(0)
    again = [values[rng.integers(len(values), size=(N_RESAMPLES, len(values)))].mean(axis=1) for values in samples]
    low, high = np.quantile(100 * np.mean(again, axis=0), [0.025, 0.975])
    return {
        "value": 100 * float(np.mean([values.mean() for values in samples])),
        "low": float(low),
        "high": float(high),
    }


def _of_pairs(found: SeedOutcomes, name: str, figure: str, *, subtle: bool = False) -> np.ndarray:
    own = found.original if name == "original" else found.methods[name]
    values = own[figure].astype(float)
    return values[found.subtle] if subtle else values


def _pooled_and_by_seed(
    found: Sequence[SeedOutcomes], first: str, second: str, figure: str, **which: bool
) -> dict[str, Any]:
    changes = [_of_pairs(one, first, figure, **which) - _of_pairs(one, second, figure, **which) for one in found]
    return {
        "pooled": in_percent(changes),
        "by_seed": {one.seed: in_percent([c]) for one, c in zip(found, changes, strict=True)},
    }


def summary(found: Sequence[SeedOutcomes]) -> dict[str, Any]:
    """All figures in percent and all gains in points, as JSON takes them."""
    names = list(found[0].methods)
    return {
        "seeds": [one.seed for one in found],
        "n_pairs": {one.seed: len(one.subtle) for one in found},
        "n_subtle": {one.seed: int(one.subtle.sum()) for one in found},
        "original": {figure: in_percent([_of_pairs(one, "original", figure) for one in found]) for figure in FIGURES},
        "methods": {
            name: {
                "GS": in_percent([_of_pairs(one, name, "GS") for one in found]),
                "gain": {figure: _pooled_and_by_seed(found, name, "original", figure) for figure in FIGURES},
                "gain_of_subtle_pairs": _pooled_and_by_seed(found, name, "original", "GS", subtle=True),
                "budgets": {one.seed: one.budgets[name] for one in found},
            }
            for name in names
        },
        "differences_of_GS": {
            f"{first} - {second}": _pooled_and_by_seed(found, first, second, "GS") for first, second in COMPARED
        },
    }


def markdown(told: dict[str, Any]) -> str:
    """The summary, with the grids of budgets, as tables."""
    seeds = ", ".join(map(str, told["seeds"]))
    largest = " and ".join(f"{values[-1]:g} ({encoder})" for encoder, values in told["grids"]["top_share"].items())
    lines = [
        f"Training seeds {seeds}; intervals are of pairs drawn again within seeds. The largest budgets of the grid are {largest}.",
        "",
        f"| method | GS (original {told['original']['GS']['value']:.1f}) | gain of GS | of PS | of zero-shot | of GS, subtle pairs | of GS by seed"
        " | budgets by seed, text and vision |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in told["methods"].items():
        gain = row["gain"]
        cells = [
            name,
            f"{row['GS']['value']:.1f}",
            _points(gain["GS"]["pooled"]),
            _points(gain["PS"]["pooled"]),
            _points(gain["zero_shot"]["pooled"]),
            _points(row["gain_of_subtle_pairs"]["pooled"]),
            ", ".join(_points(one) for one in gain["GS"]["by_seed"].values()),
            ", ".join(f"{text:g} and {vision:g}" for text, vision in row["budgets"].values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| difference of GS | pooled | by seed |", "| --- | --- | --- |"]
    for name, row in told["differences_of_GS"].items():
        by_seed = ", ".join(_points(one) for one in row["by_seed"].values())
        lines.append(f"| {name} | {_points(row['pooled'])} | {by_seed} |")
    return "\n".join([*lines, ""])


def _points(figure: Figure) -> str:
    return f"{figure['value']:+.1f} [{figure['low']:+.1f}, {figure['high']:+.1f}]"
