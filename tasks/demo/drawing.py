"""Places, people and objects as plain shapes, in coordinates that do not know the picture's size."""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, TypeAlias

from PIL import ImageDraw

Colour: TypeAlias = str | tuple[int, int, int]
Point: TypeAlias = tuple[float, float]


class Pen(NamedTuple):
    """Draws in units: (0, 0) lies at pixel (x, y), and one unit is `unit` pixels."""

    ink: ImageDraw.ImageDraw
    x: float
    y: float
    unit: float

    def at(self, x: float, y: float, unit: float) -> "Pen":
        """A pen for a smaller thing: its origin and unit, in units of this one."""
        return Pen(self.ink, self.x + x * self.unit, self.y + y * self.unit, unit * self.unit)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """Fill a rectangle."""
        self.ink.rectangle(self._pixels([(left, top), (right, bottom)]), fill=fill)

    def oval(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """Fill an ellipse, given its bounding box."""
        self.ink.ellipse(self._pixels([(left, top), (right, bottom)]), fill=fill)

    def shape(self, points: Sequence[Point], fill: Colour) -> None:
        """Fill a polygon."""
        self.ink.polygon(self._pixels(points), fill=fill)

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """Draw a line of a width in units, one pixel at least."""
        self.ink.line(self._pixels(points), fill=fill, width=max(1, round(width * self.unit)))

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        return [(self.x + x * self.unit, self.y + y * self.unit) for x, y in points]


def _park(pen: Pen, rng: Random) -> None:
    pen.box(0, 0, 1, 0.6, "#9fd3ff")
    pen.box(0, 0.55, 1, 1, "#58b347")
    for _ in range(3):
        x = rng.uniform(0, 1)
        pen.box(x - 0.02, 0.4, x + 0.02, 0.62, "#6b4423")
        pen.oval(x - 0.13, 0.12, x + 0.13, 0.46, "#2e7d32")


def _beach(pen: Pen, rng: Random) -> None:
    pen.box(0, 0, 1, 0.4, "#bfe8ff")
    pen.box(0, 0.36, 1, 0.64, "#1c7fc4")
    pen.box(0, 0.6, 1, 1, "#f1d794")
    sun = rng.uniform(0.05, 0.75)
    pen.oval(sun, 0.04, sun + 0.18, 0.22, "#ffe34d")
    for _ in range(3):
        x, y = rng.uniform(0, 1), rng.uniform(0.4, 0.56)
        pen.line([(x, y), (x + 0.15, y)], "#d9f2ff", 0.02)


def _kitchen(pen: Pen, rng: Random) -> None:
    pen.box(0, 0, 1, 1, "#fbf3dc")
    shift = rng.uniform(0, 0.14)
    for k in range(8):
        pen.line([(k * 0.14 + shift, 0), (k * 0.14 + shift, 0.55)], "#d8cbb0", 0.015)
    for k in range(4):
        pen.line([(0, k * 0.14), (1, k * 0.14)], "#d8cbb0", 0.015)
    pen.box(0, 0.55, 1, 0.62, "#8d6e63")
    pen.box(0, 0.62, 1, 1, "#c9a27e")
    fridge = rng.choice([0.0, 0.76])
    pen.box(fridge, 0.15, fridge + 0.24, 0.95, "#cfd8dc")
    pen.line([(fridge, 0.45), (fridge + 0.24, 0.45)], "#78909c", 0.02)


def _street(pen: Pen, rng: Random) -> None:
    pen.box(0, 0, 1, 1, "#c3cbd3")
    x = -rng.uniform(0, 0.2)
    while x < 1:
        width, top = rng.uniform(0.18, 0.32), rng.uniform(0.02, 0.25)
        pen.box(x, top, x + width - 0.02, 0.7, rng.choice(["#7b6f72", "#95675a", "#6c7a89"]))
        for k in range(4):
            for side in (0.2, 0.6):
                left, high = x + side * width, top + 0.05 + 0.12 * k
                pen.box(left, high, left + 0.05, high + 0.06, "#f4e9a8")
        x += width
    pen.box(0, 0.7, 1, 1, "#4a4a4f")
    for k in range(4):
        pen.box(k * 0.3 - 0.05, 0.84, k * 0.3 + 0.1, 0.87, "#f2f2f2")


def _mountains(pen: Pen, rng: Random) -> None:
    pen.box(0, 0, 1, 1, "#d6e6f5")
    for base in (0.1, 0.5, 0.9):
        x, top = base + rng.uniform(-0.12, 0.12), rng.uniform(0.05, 0.3)
        pen.shape([(x - 0.4, 0.75), (x, top), (x + 0.4, 0.75)], "#6f7d96")
        pen.shape([(x - 0.11, top + 0.17), (x, top), (x + 0.11, top + 0.17)], "#ffffff")
    pen.box(0, 0.72, 1, 1, "#f4f8fc")


PLACES: dict[str, Callable[[Pen, Random], None]] = {
    "park": _park,
    "beach": _beach,
    "kitchen": _kitchen,
    "street": _street,
    "mountains": _mountains,
}

SHIRTS: dict[str, Colour] = {
    "red": "#d62828",
    "blue": "#2348c9",
    "green": "#1b9e3e",
    "yellow": "#f5d000",
}

HAIR: dict[str, Colour] = {"black": "#1a1a1a", "brown": "#6b3e1f", "blonde": "#efc94c", "grey": "#9a9a9a"}

PEOPLE = ("man", "woman")
SKIN: tuple[Colour, ...] = ("#f1c9a5", "#c98f62", "#8d5a3a")


def draw_person(pen: Pen, person: str, shirt: str, hair: str, rng: Random) -> None:
    """Draw one person whose right hand, at (1, 0) of the pen, is free to hold something."""
    skin = rng.choice(SKIN)
    if person == "woman":
        pen.box(-0.48, -1.15, 0.48, -0.1, HAIR[hair])
    pen.oval(-0.38, -1.4, 0.38, -0.7, HAIR[hair])
    pen.oval(-0.3, -1.2, 0.3, -0.45, skin)
    pen.box(-0.4, 0.8, -0.05, 2, "#2b2d42")
    pen.box(0.05, 0.8, 0.4, 2, "#2b2d42")
    if person == "woman":
        pen.shape([(-0.45, 0.3), (0.45, 0.3), (0.85, 1.7), (-0.85, 1.7)], SHIRTS[shirt])
    pen.line([(-0.4, -0.25), (-0.8, 0.7)], SHIRTS[shirt], 0.24)
    pen.line([(0.35, -0.2), (0.95, 0.05)], SHIRTS[shirt], 0.24)
    pen.box(-0.5, -0.4, 0.5, 0.9, SHIRTS[shirt])
    pen.oval(0.85, -0.1, 1.15, 0.2, skin)
