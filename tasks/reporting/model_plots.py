"""Plots of models: gain against cost, and figures before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from data_specs.figures import Interval
from data_specs.metrics import ZERO_SHOT, find_metric
from tasks.reporting.plot import CHANCE_KEY, Panel, Plot, room
from tasks.tables.verdict import HEADLINE, SAFE_SIDE

PointRole = Literal["original", "edited", "control", "point"]

_LOOKS: dict[PointRole, str] = {"original": "m0", "edited": "m1", "control": "m2", "point": "m3"}
_ROLES: dict[PointRole, str] = {
    "original": "the original",
    "edited": "edits",
    "control": "controls",
    "point": "points of the sweep",
}
_N_LOOKS = 4
# Where a number may stand beside its point, in pixels to the right and down, the best place first.
_AROUND = [
    (round(radius * x), round(radius * y))
    for radius in (13, 20, 27, 34)
    for x, y in ((0.7, -0.7), (0.7, 0.7), (-0.7, -0.7), (-0.7, 0.7), (1, 0), (-1, 0), (0, -1), (0, 1))
]


@dataclass(frozen=True)
class PlottedModel:
    """A model's figures, shares in percent, and its place in the plot's key; points of a sweep have none."""

    name: str
    role: PointRole
    values: Mapping[str, float]
    intervals: Mapping[str, Interval]


def trade_off_plot(models: Sequence[PlottedModel], chance: Mapping[str, float]) -> Plot | None:
    """The headline figure against what an edit may cost; None where nothing is there to be compared."""
    costs = [name for name in (SAFE_SIDE, ZERO_SHOT) if sum(name in model.values for model in models) > 1]
    panels = [_trade_off_panel(models, cost, chance) for cost in costs]
    if not panels or sum(HEADLINE in model.values for model in models) < 2:
        return None
    found: list[PointRole] = [role for role in _ROLES if any(model.role == role for model in models)]
    return Plot(
        title=f"{HEADLINE} against what it may cost",
        panels=panels,
        caption=(
            f"How to read it: an edit should lie above the original ({HEADLINE} higher) and not left of it (no loss). Dotted lines"
            f" cross at chance: an edit that moves towards the crossing damages the model, also where its {HEADLINE} rises."
            " Lines through a point: 95 % intervals."
        ),
        key=[*((_LOOKS[role], _ROLES[role]) for role in found), CHANCE_KEY],
        numbered=[_in_words(model, costs) for model in models if model.role != "point"],
    )


def _trade_off_panel(models: Sequence[PlottedModel], cost: str, chance: Mapping[str, float]) -> Panel:
    shown = [model for model in models if cost in model.values and HEADLINE in model.values]

    def span(name: str) -> tuple[float, float]:
        bounds = [edge for model in shown for edge in model.intervals.get(name, ())]
        levels = [chance[name]] if name in chance else []
        return room([*(model.values[name] for model in shown), *bounds, *levels])

    panel = Panel(f"{HEADLINE} against {cost} of {len(shown)} models", span(cost), span(HEADLINE))
    panel.axes(f"{_axis_name(cost)}, %", f"{HEADLINE}, %")
    if cost in chance:
        panel.across("chance", x=chance[cost], tip=f"{cost} by chance: {find_metric(cost).shown(chance[cost])}")
    if HEADLINE in chance:
        panel.across(
            "chance", y=chance[HEADLINE], tip=f"{HEADLINE} by chance: {find_metric(HEADLINE).shown(chance[HEADLINE])}"
        )
    if cost in chance and HEADLINE in chance:
        panel.dot("crossing", chance[cost], chance[HEADLINE], 5, "a model that answers at random")
        panel.words("chance", chance[cost], chance[HEADLINE], look="tick", shift=(8, 14))
    # Small points first, so that those with a number lie on top.
    for model in sorted(shown, key=lambda model: model.role != "point"):
        x, y = model.values[cost], model.values[HEADLINE]
        tip = f"{model.name}: {HEADLINE} {find_metric(HEADLINE).shown(y)}, {cost} {find_metric(cost).shown(x)}"
        if model.role == "point":
            panel.dot(f"{_LOOKS[model.role]} faint", x, y, 3, tip)
            continue
        if cost in model.intervals:
            low, high = model.intervals[cost]
            panel.line(f"spread {_LOOKS[model.role]}", (low, y), (high, y))
        if HEADLINE in model.intervals:
            low, high = model.intervals[HEADLINE]
            panel.line(f"spread {_LOOKS[model.role]}", (x, low), (x, high))
        panel.dot(_LOOKS[model.role], x, y, tip=tip)
    numbered = [model for model in models if model.role != "point"]
    _number_points(
        panel,
        {
            at: (model.values[cost], model.values[HEADLINE])
            for at, model in enumerate(numbered, start=1)
            if model in shown
        },
    )
    return panel


def _number_points(panel: Panel, points: Mapping[int, tuple[float, float]]) -> None:
    """Write each point's number beside it, where no other point or number stands if there is such a place."""
    taken = [(panel.x(x), panel.y(y)) for x, y in points.values()]
    for number, (x, y) in points.items():
        middle_x, middle_y = panel.x(x), panel.y(y)

        def crowd(shift: tuple[float, float], at: tuple[float, float] = (middle_x, middle_y)) -> float:
            place = at[0] + shift[0], at[1] + shift[1]
            return sum(abs(place[0] - other[0]) < 13 and abs(place[1] - other[1]) < 11 for other in taken)

        shift = min(_AROUND, key=crowd)
        taken.append((middle_x + shift[0], middle_y + shift[1]))
        panel.words(str(number), x, y, anchor="middle", look="number", shift=(shift[0], shift[1] + 4))


def _in_words(model: PlottedModel, costs: Sequence[str]) -> str:
    told = [
        f"{name} {find_metric(name).shown(model.values[name])}" for name in (HEADLINE, *costs) if name in model.values
    ]
    return f"{model.name}: {', '.join(told)}"


def _axis_name(name: str) -> str:
    return "zero-shot accuracy" if name == ZERO_SHOT else name


def bars_plot(models: Sequence[PlottedModel], names: Sequence[str], chance: Mapping[str, float]) -> Plot:
    """The main figures of each model as bars, with intervals; `models` are the report's own."""
    bars = len(models)
    panel = Panel(
        label="; ".join(
            f"{name}: " + ", ".join(f"{model.name} {find_metric(name).shown(model.values[name])}" for model in models)
            for name in names
        ),
        xs=(0, 112),
        ys=(-len(names), 0),
        height=(14 * bars + 10) * len(names) + 50,
        left=72,
    )
    panel.axes("percent", y_ticks=False)
    step = 0.84 / bars
    for place, name in enumerate(names):
        panel.words(name, 0, -place - 0.5, anchor="end", shift=(-6, 4))
        for at, model in enumerate(models):
            top = -place - 0.08 - at * step
            value, middle = model.values[name], top - step / 2
            low, high = model.intervals.get(name, (value, value))
            look = f"m{at % _N_LOOKS}"
            panel.bar(
                look, (0, value), (top, top - 0.86 * step), f"{name}: {model.name} {find_metric(name).shown(value)}"
            )
            panel.line("whisker", (low, middle), (high, middle))
            panel.words(find_metric(name).shown(value), high, middle, look="tick", shift=(5, 4))
        if name in chance:
            tip = f"{name} by chance: {find_metric(name).shown(chance[name])}"
            panel.line("chance", (chance[name], -place - 0.02), (chance[name], -place - 0.98), tip)
    return Plot(
        title="Before and after",
        panels=[panel],
        caption="How to read it: a bar a model, a group a metric; lines: 95 % intervals. Dotted: what random answers give (chance).",
        key=[*((f"m{at % _N_LOOKS}", model.name) for at, model in enumerate(models)), CHANCE_KEY],
    )
