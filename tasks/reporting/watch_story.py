"""What somebody who is woken must know of one model on one set: how it stands, since when, and what changed before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from data_specs.gate import GateOutcome
from data_specs.history import WITHOUT_RESULT, HistoryRow
from data_specs.moments import shown_moment

# A night without a result is none of its gates' outcomes.
Light = Literal["failed", "none", "unsure", "not_comparable", "ungated", "passed"]
# The worst first.
LIGHTS: dict[Light, str] = {
    "failed": "FAILED",
    "none": "NO RESULT",
    "unsure": "UNSURE",
    "not_comparable": "NOT COMPARABLE",
    "ungated": "NO GATES",
    "passed": "PASSED",
}
_OUTCOMES: dict[Light, tuple[GateOutcome, ...]] = {
    "failed": ("fail", "unsure", "not_comparable"),
    "unsure": ("unsure", "not_comparable"),
    "not_comparable": ("not_comparable",),
}


@dataclass(frozen=True)
class Story:
    """How a model stands on a set."""

    light: Light
    sentences: list[str]  # what is the matter, the worst first
    since: str = ""  # since when it is so
    changed: list[str] = field(default_factory=list)  # from the last good night on, each with its night
    last_good: HistoryRow | None = None  # the newest night that passed, before what is the matter
    newest: HistoryRow | None = None  # the newest night that measured it

    @property
    def word(self) -> str:
        """The light in words."""
        return LIGHTS[self.light]


def worst_light(lights: Iterable[Light]) -> Light:
    """The worst of several; of none, that there is no result."""
    found = {*lights}
    return next((light for light in LIGHTS if light in found), "none")


def story_of(rows: Sequence[HistoryRow]) -> Story:
    """Tell how it stands.

    Args:
        rows: of one model on one set, and the nights of its watch that have no result, the oldest first.
    """
    over = [row for row in rows if row.state != "running"]
    measured = [row for row in over if row.state == "measured"]
    newest = measured[-1] if measured else None
    gaps = over[over.index(newest) + 1 :] if newest else over
    if newest is None:
        return Story("none", [*_told_gaps(gaps)] or ["it was never measured"])
    same = _unbroken(measured)
    good = [row for row in measured[: len(measured) - len(same)] if row.outcome == "passed"]
    light: Light = newest.outcome or "ungated"
    last_good = newest if light == "passed" else good[-1] if good else None
    told = _told_gates(newest, light)
    if gaps:
        told = [*_told_gaps(gaps), f"The last result is of {shown_moment(newest.at)}: {LIGHTS[light]}", *told]
    return Story(
        light="none" if gaps else light,
        sentences=told,
        since=_since(gaps or same, last_good, "none" if gaps else light),
        changed=_changed(over, last_good) if light in _OUTCOMES or gaps else [],
        last_good=last_good,
        newest=newest,
    )


def _unbroken(measured: Sequence[HistoryRow]) -> list[HistoryRow]:
    """The newest rows that ended alike, one after another."""
    found: list[HistoryRow] = []
    for row in reversed(measured):
        if row.outcome != measured[-1].outcome:
            break
        found.insert(0, row)
    return found


def _told_gates(row: HistoryRow, light: Light) -> list[str]:
    return [
        f"{gate.gate.name}: {gate.sentence}"
        for outcome in _OUTCOMES.get(light, ())
        for gate in row.gates
        if gate.outcome == outcome
    ]


def _told_gaps(gaps: Sequence[HistoryRow]) -> list[str]:
    told = []
    for row in reversed(gaps):
        why = f": {row.sentence}" if row.sentence else ""
        told.append(f"{shown_moment(row.at)}: {WITHOUT_RESULT[row.state]}{why}")
    return told[:3] + ([f"and {len(told) - 3} nights more without a result"] if len(told) > 3 else [])


def _since(rows: Sequence[HistoryRow], last_good: HistoryRow | None, light: Light) -> str:
    n = len(rows)
    first = f"since {shown_moment(rows[0].at)}, {n} nights in a row" if n > 1 else f"since {shown_moment(rows[0].at)}"
    if light in ("passed", "ungated"):
        return first
    return f"{first}; " + (
        f"the last good night was {shown_moment(last_good.at)}" if last_good else "no night before it was good"
    )


def _changed(rows: Sequence[HistoryRow], last_good: HistoryRow | None) -> list[str]:
    """What changed in each night after the last good one; without one, in all that there are."""
    after = rows[rows.index(last_good) + 1 :] if last_good else rows
    return [f"{shown_moment(row.at)}: {change}" for row in after for change in row.all_changes]
