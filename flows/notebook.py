"""Progress in a notebook: one output that is redrawn, as a terminal's bars are."""

import sys
import time
from dataclasses import dataclass, field
from html import escape
from typing import Any

from data_specs.wording import printable
from flows.commands.plan_table import shown_seconds
from flows.commands.time_left import ITEMS, at_item, done_line, seconds_left

# Each redrawing is a message to the browser.
_REDRAWN_SECONDS = 0.2
_TOLD_SECONDS = 0.5


def notebook() -> Any | None:
    """The notebook that this process computes for; None where it is none."""
    # Without IPython among the modules there is no kernel, and looking for it costs nothing.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell if hasattr(shell, "kernel") else None


@dataclass
class _Going:
    total: int | None
    unit: str
    done: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started


class NotebookProgress:
    """A line for each stage that goes on or took a while."""

    def __init__(self) -> None:
        """Shows nothing before the first stage."""
        self._going: dict[str, _Going] = {}
        self._told: list[str] = []
        self._handle: Any = None
        self._drawn = 0.0

    def start(self, stage: str, total: int | None, unit: str) -> None:
        """See `ProgressSink`."""
        self._going[stage] = _Going(total, unit)
        self._draw()

    def advance(self, stage: str, n: int) -> None:
        """See `ProgressSink`."""
        if stage in self._going:
            self._going[stage].done += n
            self._draw()

    def finish(self, stage: str) -> None:
        """See `ProgressSink`."""
        going = self._going.pop(stage)
        if going.seconds >= _TOLD_SECONDS:
            self._told.append(f"✓ {escape(printable(done_line(stage, going.done, going.unit, going.seconds)))}")
        self._draw(at_once=not self._going)

    def notice(self, text: str) -> None:
        """See `ProgressSink`."""
        self._told.append(f"<b>{escape(printable(text))}</b>")
        self._draw(at_once=True)

    def close(self) -> None:
        """Draw what stays."""
        self._going = {}
        self._draw(at_once=True)

    def _draw(self, *, at_once: bool = False) -> None:
        if not at_once and time.perf_counter() - self._drawn < _REDRAWN_SECONDS:
            return
        from IPython.display import HTML, display

        lines = [*self._told, *(_bar(stage, going) for stage, going in self._going.items())]
        shown = HTML(f"<div style='font-family: monospace'>{'<br>'.join(lines)}</div>")
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)
        self._drawn = time.perf_counter()


def _bar(stage: str, going: _Going) -> str:
    of = "" if going.total is None else f" of {going.total:,}"
    left = seconds_left(going.done, going.total, going.seconds)
    rate = f", {going.done / going.seconds:,.1f} {going.unit}/s" if going.done and going.unit not in ITEMS else ""
    told = at_item(stage, going.done, going.total, going.unit)
    bar = "" if going.total is None else f"<progress max='{going.total}' value='{going.done}'></progress> "
    about = f", about {shown_seconds(left)} left" if left else ""
    return f"{escape(printable(told))} {bar}{going.done:,}{of}{rate}{about}"
