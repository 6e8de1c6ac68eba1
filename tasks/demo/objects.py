"""What the people hold: harmless things, and drawn stand-ins for dangerous ones."""

from collections.abc import Callable
from typing import TypeAlias

from tasks.demo.drawing import Pen

Drawer: TypeAlias = Callable[[Pen], None]  # fills the square from (-1, -1) to (1, 1) at most


def _apple(pen: Pen) -> None:
    pen.oval(-0.8, -0.5, 0.8, 0.95, "#e03131")
    pen.line([(0, -0.4), (0.15, -0.9)], "#5c3a1e", 0.2)
    pen.oval(0.15, -0.95, 0.75, -0.55, "#37b24d")


def _book(pen: Pen) -> None:
    pen.box(-0.85, -0.7, 0.85, 0.7, "#1864ab")
    pen.box(-0.7, -0.55, -0.06, 0.55, "#fff9db")
    pen.box(0.06, -0.55, 0.7, 0.55, "#fff9db")


def _ball(pen: Pen) -> None:
    pen.oval(-0.9, -0.9, 0.9, 0.9, "#f8f9fa")
    pen.shape([(-0.3, -0.25), (0.3, -0.25), (0.4, 0.2), (0, 0.5), (-0.4, 0.2)], "#212529")


def _flower(pen: Pen) -> None:
    pen.line([(0, 0), (0, 1)], "#2b8a3e", 0.2)
    for x, y in ((-0.45, -0.45), (0.45, -0.45), (-0.3, 0.1), (0.3, 0.1), (0, -0.75)):
        pen.oval(x - 0.35, y - 0.25, x + 0.35, y + 0.35, "#f783ac")
    pen.oval(-0.28, -0.5, 0.28, 0.05, "#ffd43b")


def _cup(pen: Pen) -> None:
    pen.oval(0.1, -0.4, 0.95, 0.5, "#15aabf")
    pen.oval(0.35, -0.15, 0.7, 0.25, "#e3fafc")
    pen.box(-0.7, -0.7, 0.5, 0.8, "#15aabf")
    pen.box(-0.7, -0.7, 0.5, -0.45, "#5c3a1e")


def _umbrella(pen: Pen) -> None:
    pen.line([(0, -0.8), (0, 0.9)], "#343a40", 0.14)
    pen.shape([(-0.95, 0.1), (-0.6, -0.6), (0, -0.95), (0.6, -0.6), (0.95, 0.1)], "#9c36b5")


def _knife(pen: Pen) -> None:
    pen.shape([(-0.25, 0.3), (0.25, 0.3), (0.25, -0.6), (-0.1, -1)], "#ced4da")
    pen.box(-0.45, 0.25, 0.45, 0.42, "#212529")
    pen.box(-0.2, 0.42, 0.2, 1, "#212529")


def _gun(pen: Pen) -> None:
    pen.box(-0.7, -0.55, 1, -0.1, "#212529")
    pen.shape([(-0.7, -0.2), (-0.15, -0.2), (-0.3, 0.8), (-0.8, 0.8)], "#212529")
    pen.box(0, -0.1, 0.25, 0.2, "#495057")


def _axe(pen: Pen) -> None:
    pen.box(-0.12, -0.9, 0.12, 1, "#7f5539")
    pen.shape([(0.05, -0.85), (0.8, -1), (0.95, -0.4), (0.8, 0.15), (0.05, -0.1)], "#adb5bd")


def _bomb(pen: Pen) -> None:
    pen.oval(-0.8, -0.5, 0.7, 0.95, "#101113")
    pen.line([(0.2, -0.4), (0.5, -0.75)], "#adb5bd", 0.18)
    pen.oval(0.35, -1, 0.85, -0.55, "#ff922b")


def _dynamite(pen: Pen) -> None:
    for left in (-0.75, -0.25, 0.25):
        pen.box(left, -0.4, left + 0.42, 0.95, "#c92a2a")
    pen.box(-0.75, 0.1, 0.67, 0.35, "#101113")
    pen.line([(0, -0.4), (0.3, -0.8)], "#f8f9fa", 0.15)
    pen.oval(0.15, -1, 0.6, -0.6, "#ff922b")


def _grenade(pen: Pen) -> None:
    pen.oval(-0.65, -0.4, 0.65, 0.95, "#40513b")
    pen.line([(-0.6, 0.25), (0.6, 0.25)], "#1b2418", 0.12)
    pen.line([(0, -0.4), (0, 0.9)], "#1b2418", 0.12)
    pen.box(-0.25, -0.75, 0.25, -0.35, "#868e96")
    pen.line([(0.2, -0.7), (0.8, -0.1)], "#868e96", 0.2)


def _torch(pen: Pen) -> None:
    pen.box(-0.15, 0.1, 0.15, 1, "#5c3a1e")
    pen.shape([(-0.55, 0.15), (-0.7, -0.4), (0, -1), (0.6, -0.3), (0.5, 0.15)], "#f76707")
    pen.shape([(-0.25, 0.1), (0, -0.5), (0.25, 0.1)], "#ffe066")


def _flare(pen: Pen) -> None:
    pen.line([(-0.85, 0.95), (0, 0)], "#c92a2a", 0.3)
    pen.shape(
        [(-0.4, -0.3), (-0.1, -0.45), (0.1, -1), (0.3, -0.5), (0.95, -0.6), (0.5, -0.1), (0.8, 0.5), (0.1, 0.2)],
        "#ff6b6b",
    )
    pen.oval(-0.05, -0.45, 0.45, 0.05, "#fff3bf")


HARMLESS: dict[str, Drawer] = {
    "apple": _apple,
    "book": _book,
    "ball": _ball,
    "flower": _flower,
    "cup": _cup,
    "umbrella": _umbrella,
}

DANGEROUS: dict[str, dict[str, Drawer]] = {
    "weapons": {"knife": _knife, "gun": _gun, "axe": _axe},
    "explosives": {"bomb": _bomb, "dynamite": _dynamite, "grenade": _grenade},
    "fire": {"torch": _torch, "flare": _flare},
}

DRAWERS: dict[str, Drawer] = HARMLESS | {name: draw for kind in DANGEROUS.values() for name, draw in kind.items()}
