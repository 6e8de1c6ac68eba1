"""The history of models on sets: every evaluation that was ever made, and the nights that left none."""

import re
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from data_specs.figures import Interval
from data_specs.gate import GateOutcome, GateResult
from data_specs.manifest import VERSION_PATTERN
from data_specs.night import NightOutcome
from data_specs.spec import Spec
from data_specs.trend import Slide
from data_specs.wording import last_part, shortened

_MOST_SHARDS = 3
# The worst first; a night, or a model on a set, is its worst gate.
_WORST: tuple[tuple[GateOutcome, NightOutcome], ...] = (
    ("fail", "failed"),
    ("unsure", "unsure"),
    ("not_comparable", "not_comparable"),
    ("pass", "passed"),
)

# Of all but `measured` there is no figure: it goes on, ended with an error, was cancelled, died, or never began.
HistoryState = Literal["measured", "running", "failed", "interrupted", "crashed", "missed"]
WITHOUT_RESULT: dict[HistoryState, str] = {
    "running": "still running",
    "failed": "ended with an error",
    "interrupted": "was cancelled or interrupted",
    "crashed": "crashed",
    "missed": "never fired",
}


class HistoryRow(Spec):
    """One model on one set at one time, or a night without a result."""

    at: str = Field(description="ISO 8601, UTC: when it began, or was due")
    state: HistoryState
    watch: str | None = Field(default=None, description="null: a run that no watch asked for")
    model: str | None = Field(default=None, description="its name in the watch, or run and role; null: the whole night")
    set: str | None = Field(default=None, description="its name in the watch, or the names of the shards")
    night: str | None = Field(default=None, description="its identifier; null of what never fired")
    run: str | None = Field(default=None, description="identifier of the run's record")
    sentence: str = Field(default="", description="why there is no figure")
    n_pairs: int | None = None
    figures: dict[str, float] = Field(default_factory=dict)
    intervals: dict[str, Interval] = Field(default_factory=dict, description="95 %")
    outcome: NightOutcome | None = Field(default=None, description="of its gates; null where it has none")
    gates: list[GateResult] = Field(default_factory=list)
    shards_added: list[str] = Field(default_factory=list, description="locations, or SHA-256 where none is known")
    shards_removed: list[str] = Field(default_factory=list, description="SHA-256")
    changes: list[str] = Field(
        default_factory=list, description="beside shards, from this model's row on this set before it; a clause each"
    )
    what: str | None = Field(default=None, description="version of the model or edit, digest of a model as it is")
    evaluation: str | None = Field(default=None, description="its version")
    baseline_evaluation: str | None = None
    report: str | None = Field(default=None, description="path of its own report")

    @property
    def all_changes(self) -> list[str]:
        """What differs from the row before, a clause each, shards first."""
        told = []
        if self.shards_added:
            names = ", ".join(_shard_name(place) for place in self.shards_added[:_MOST_SHARDS])
            more = ", …" if len(self.shards_added) > _MOST_SHARDS else ""
            told.append(f"{_counted(len(self.shards_added), 'shard')} added ({names}{more})")
        if self.shards_removed:
            told.append(f"{_counted(len(self.shards_removed), 'shard')} gone")
        return [*told, *self.changes]


class NamedSlide(Spec):
    """A figure of one model on one set that slowly got worse."""

    watch: str | None
    model: str
    set: str
    slide: Slide

    @property
    def sentence(self) -> str:
        """What happened, for a person, with whose figure it is."""
        return f"{self.model} @ {self.set}: {self.slide.sentence}"


class History(Spec):
    """Rows, the oldest first."""

    rows: list[HistoryRow]
    slides: list[NamedSlide] = Field(default_factory=list, description="what no single night says")
    remarks: list[str] = Field(default_factory=list, description="what is said of them as a whole, a sentence each")

    def series(self) -> dict[tuple[str | None, str, str], list[HistoryRow]]:
        """By watch, model and set: their own rows, and the nights of the watch that have no result at all, in order.

        Series stand in the order of their first rows.
        """
        own: dict[tuple[str | None, str, str], list[tuple[int, HistoryRow]]] = {}
        whole: dict[str, list[tuple[int, HistoryRow]]] = {}
        for place in enumerate(self.rows):
            row = place[1]
            if row.model is not None:
                own.setdefault((row.watch, row.model, row.set or ""), []).append(place)
            elif row.watch is not None:
                whole.setdefault(row.watch, []).append(place)
        return {
            key: [row for _, row in sorted([*rows, *whole.get(key[0] or "", [])], key=lambda place: place[0])]
            for key, rows in own.items()
        }


def outcome_of(gates: Iterable[GateOutcome]) -> NightOutcome | None:
    """What several gates come to, which is the worst of them; None of none."""
    found = {*gates}
    return next((told for outcome, told in _WORST if outcome in found), None)


def _shard_name(place: str) -> str:
    """The file's name; of a digest its beginning."""
    return place[:12] if re.fullmatch(VERSION_PATTERN, place) else shortened(last_part(place), 40)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
