"""Plots as shapes of SVG that take their colours from the page, so that both of its schemes show them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

_Element = Literal["line", "rect", "circle", "path", "text"]
Bounds = tuple[float, float]
# As wide as a telephone's screen: panels stand side by side where there is more room.
PANEL_WIDTH = 344
CHANCE_KEY = ("chance", "chance")  # look and name
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 12, 38
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Shape:
    """One element; `tip` is what a pointer over it shows."""

    kind: _Element
    look: str
    at: dict[str, str]
    text: str = ""
    tip: str = ""


@dataclass
class Panel:
    """One drawing with axes; positions are given in the units of its figures."""

    label: str  # what it shows, in words
    xs: Bounds
    ys: Bounds
    height: int = 260
    left: int = _LEFT
    bottom: int = _BOTTOM
    title: str = ""
    shapes: list[Shape] = field(default_factory=list)
    width: int = PANEL_WIDTH

    def x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self.xs
        return self.left + (value - low) / (high - low) * (self.width - self.left - _RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.ys
        return self.height - self.bottom - (value - low) / (high - low) * (self.height - self.bottom - self._top)

    @property
    def _top(self) -> int:
        return _TOP + (16 if self.title else 0)

    def line(self, look: str, start: Bounds, end: Bounds, tip: str = "") -> None:
        """A straight line between two points (x, y)."""
        at = {"x1": self.x(start[0]), "y1": self.y(start[1]), "x2": self.x(end[0]), "y2": self.y(end[1])}
        self.shapes.append(Shape("line", look, _pixels(at), tip=tip))

    def across(self, look: str, *, x: float | None = None, y: float | None = None, tip: str = "") -> None:
        """A line over the whole drawing at an x, or at a y."""
        if x is not None:
            self.line(look, (x, self.ys[0]), (x, self.ys[1]), tip)
        if y is not None:
            self.line(look, (self.xs[0], y), (self.xs[1], y), tip)

    def dot(self, look: str, x: float, y: float, radius: float = 4.5, tip: str = "") -> None:
        """A point."""
        self.shapes.append(Shape("circle", look, _pixels({"cx": self.x(x), "cy": self.y(y), "r": radius}), tip=tip))

    def bar(self, look: str, xs: Bounds, ys: Bounds, tip: str = "") -> None:
        """A filled rectangle."""
        left, right = sorted((self.x(xs[0]), self.x(xs[1])))
        top, bottom = sorted((self.y(ys[0]), self.y(ys[1])))
        at = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        self.shapes.append(Shape("rect", look, _pixels(at), tip=tip))

    def path(self, look: str, points: Sequence[Bounds]) -> None:
        """A line through points."""
        steps = [f"{'L' if at else 'M'}{self.x(x):.1f} {self.y(y):.1f}" for at, (x, y) in enumerate(points)]
        self.shapes.append(Shape("path", look, {"d": " ".join(steps)}))

    def words(
        self, text: str, x: float, y: float, *, anchor: str = "start", look: str = "", shift: Bounds = (0, 0)
    ) -> None:
        """Text at a point, moved by `shift` pixels to the right and down."""
        at = {**_pixels({"x": self.x(x) + shift[0], "y": self.y(y) + shift[1]}), "text-anchor": anchor}
        self.shapes.append(Shape("text", look, at, text))

    def axes(self, x_label: str, y_label: str = "", *, y_ticks: bool = True) -> None:
        """Ticks, their numbers and the names of both axes."""
        floor = self.ys[0]
        self.across("axis", y=floor)
        for value in ticks(self.xs):
            self.words(f"{value:g}", value, floor, anchor="middle", look="tick", shift=(0, 14))
        for value in ticks(self.ys) if y_ticks else ():
            self.across("grid", y=value)
            self.words(f"{value:g}", self.xs[0], value, anchor="end", look="tick", shift=(-5, 4))
        middle = (self.xs[0] + self.xs[1]) / 2
        self.words(x_label, middle, floor, anchor="middle", look="tick", shift=(0, 30))
        if y_label:
            self.words(y_label, self.xs[0], self.ys[1], look="tick", shift=(4, -3 if self.title else 4))
        if self.title:
            at = {"x": f"{self.left}", "y": "14", "text-anchor": "start"}
            self.shapes.append(Shape("text", "head", at, self.title))


@dataclass(frozen=True)
class Plot:
    """Panels under one heading, a key, and a sentence that says how to read them."""

    title: str
    panels: list[Panel]
    caption: str
    key: list[tuple[str, str]] = field(default_factory=list)  # look and name
    numbered: list[str] = field(default_factory=list)


def ticks(span: Bounds, n: int = 5) -> list[float]:
    """About `n` round numbers within a span."""
    low, high = span
    raw = (high - low) / n
    power = 10 ** math.floor(math.log10(raw))
    step = next(size * power for size in _STEPS if size * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    found = []
    while first * step <= high + step * 1e-9:
        found.append(round(first * step, 10) + 0.0)
        first += 1
    return found


def room(values: Sequence[float], *, share: float = 0.08, least: float = 1.0) -> Bounds:
    """A span that holds all values with some room on both sides."""
    low, high = min(values), max(values)
    more = max((high - low) * share, least)
    return low - more, high + more


def _pixels(at: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.1f}" for name, value in at.items()}
