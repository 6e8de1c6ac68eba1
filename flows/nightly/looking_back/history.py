"""Every evaluation ever: the nights of watches and all other runs of a store, with what changed and what is missing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from data_specs.errors import SpecError
from data_specs.history import History, HistoryRow, HistoryState, outcome_of
from data_specs.moments import moment_of, shown_moment
from data_specs.night import Measured, Night
from data_specs.suggestions import did_you_mean
from data_specs.wording import one_line, shown
from flows.nightly.looking_back.changes import ShardChange, changes_between, shards_changed
from flows.nightly.looking_back.ended import state_of
from flows.nightly.looking_back.missed import asked_by_hand, missed_nights
from flows.nightly.looking_back.recorded import recorded_measurements, runs_of_nights
from flows.nightly.nights import read_nights, read_schedules, watches
from tasks.lineage.runs import run_records


@dataclass(frozen=True)
class HistoryFilter:
    """Which rows are asked for; empty texts ask for all."""

    model: str = ""
    on: str = ""  # set
    watch: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class _Seen:
    """One model on one set at one time, before it is compared with the time before."""

    at: str
    state: HistoryState
    measured: Measured
    watch: str | None = None
    night: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    remarks: Sequence[str] = ()


def history_of(root: Path, asked: HistoryFilter, now: datetime) -> History:
    """All that a store knows of figures over time.

    Args:
        root: of the store.
        asked: which rows; what changed is told from the row before, asked for or not. The whole nights of a watch
            that have no result stand beside each of its models and sets.
        now: what was due later is not missed.

    Raises:
        SpecError: no watch, model or set is called so.
    """
    nights = {name: read_nights(root, name) for name in watches(root)}
    _require_known("watch", asked.watch, nights)
    seen, whole, remarks = [], [], []
    for name, own in nights.items():
        if asked.watch in ("", name):
            found, by_hand, told = _against_schedule(root, name, own, now)
            seen += [item for night, next_night in _with_next(own) for item in _seen_in(night, next_night, by_hand)]
            whole += found
            remarks += told
    records = run_records(root)
    of_nights = runs_of_nights(records, [night for own in nights.values() for night in own])
    seen = [*_with_runs(seen, records, of_nights)]
    if not asked.watch:
        seen += _recorded(root, [record for record in records if record["id"] not in of_nights])
    rows = [*_compared(seen), *whole]
    for what, part in (("model", asked.model), ("set", asked.on)):
        _require_known(what, part, [getattr(row, what) for row in rows if getattr(row, what) is not None], part_of=True)
    return History(rows=sorted(_asked_for(rows, asked), key=lambda row: moment_of(row.at)), remarks=remarks)


def _require_known(what: str, name: str, known: Iterable[str], *, part_of: bool = False) -> None:
    names = dict.fromkeys(known)
    if name and name not in names and not (part_of and any(name in each for each in names)):
        listed = f"there are {', '.join(map(shown, [*names][:8]))}" if names else "there is none"
        raise SpecError(f"no {what} with a history here is called {shown(name)}; {listed}{did_you_mean(name, names)}")


def _asked_for(rows: Sequence[HistoryRow], asked: HistoryFilter) -> Iterator[HistoryRow]:
    exact = {what: {getattr(row, what) for row in rows} for what in ("model", "set")}

    def is_named(row: HistoryRow, what: str, name: str) -> bool:
        own = getattr(row, what)
        return own == name if name in exact[what] else name in (own or "")

    def is_asked_for(row: HistoryRow) -> bool:
        if row.model is None:  # a night as a whole stands beside the models and sets that are asked for
            return row.watch in own_watches or not (asked.model or asked.on)
        return is_named(row, "model", asked.model) and is_named(row, "set", asked.on)

    own_watches = {row.watch for row in rows if row.model is not None and is_asked_for(row)}
    for row in rows:
        if is_asked_for(row) and (asked.since is None or moment_of(row.at) >= asked.since):
            yield row


def _with_next(nights: Sequence[Night]) -> Iterator[tuple[Night, Night | None]]:
    yield from pairwise([*nights, None])


def _state(night: Night, next_night: Night | None) -> HistoryState:
    return state_of(night.status, night.started, night.host, night.process, next_night is not None)


def _seen_in(night: Night, next_night: Night | None, by_hand: Mapping[str, datetime]) -> Iterator[_Seen]:
    remarks = []
    if (due := by_hand.get(night.id)) is not None:
        remarks.append(f"asked for by hand; the night due at {shown_moment(due.isoformat())} never fired")
    for measured in night.measured:
        state: HistoryState = "measured" if measured.status == "completed" else measured.status
        if state == "running":
            state = _state(night, next_night)
            state = "crashed" if state == "measured" else state
        yield _Seen(night.started, state, measured, night.watch, night.id, night.settings, remarks)


def _against_schedule(
    root: Path, watch: str, nights: Sequence[Night], now: datetime
) -> tuple[list[HistoryRow], dict[str, datetime], list[str]]:
    """A row for each night as a whole that left no result; those asked for by hand instead; and what cannot be said."""
    found = [
        HistoryRow(at=night.started, state=state, watch=watch, night=night.id, sentence=one_line(night.error or ""))
        for night, next_night in _with_next(nights)
        if (state := _state(night, next_night)) != "measured" and not _says_it(night)
    ]
    schedules = read_schedules(root, watch)
    try:
        missed = missed_nights(schedules, nights, now)
        by_hand = asked_by_hand(schedules, nights, now)
    except ValueError as error:
        told = f"the schedule of watch {watch} cannot be read, so nobody knows what it missed"
        return found, {}, [f"{told}: {one_line(str(error), 200)}"]
    found += [
        HistoryRow(at=item.at.isoformat(), state="missed", watch=watch, sentence=item.sentence) for item in missed
    ]
    return found, by_hand, []


def _says_it(night: Night) -> bool:
    """Whether a night failed only by gates, or by models that could not be measured, which its own rows say."""
    by_a_model = any(item.status == "failed" for item in night.measured)
    return night.status == "failed" and (night.outcome is not None or by_a_model)


def _recorded(root: Path, records: Sequence[dict[str, Any]]) -> Iterator[_Seen]:
    """Runs that no watch asked for."""
    found = [(record, item) for record in records for item in recorded_measurements(root, record)]
    models: dict[tuple[str, str], dict[str, None]] = {}
    for record, item in found:
        if item.status == "completed":
            models.setdefault((record["settings"]["name"], item.set), {})[item.model] = None
    for record, item in found:
        state = state_of(item.status, record["started"], record.get("host"), record.get("process"))
        # What did not come to its end stands beside each model that runs of its name measured on these shards.
        others = models.get((item.model, item.set), {item.model}) if item.status != "completed" else {item.model}
        for model in others:
            own = item.model_copy(update={"model": model})
            yield _Seen(record["started"], state, own, settings=record["settings"])


def _with_runs(seen: Iterable[_Seen], records: Sequence[dict[str, Any]], nights: Mapping[str, str]) -> Iterator[_Seen]:
    """Nights with the records of their runs, which a night need not name."""
    runs = {
        (nights[record["id"]], version): record["id"]
        for record in records
        if record["id"] in nights
        for version in (record.get("artifacts") or {}).values()
    }
    for item in seen:
        run = item.measured.run or runs.get((item.night or "", item.measured.evaluation))
        yield replace(item, measured=item.measured.model_copy(update={"run": run}))


def _compared(seen: Iterable[_Seen]) -> Iterator[HistoryRow]:
    last: dict[tuple[str | None, str, str], _Seen] = {}
    for item in sorted(seen, key=lambda item: moment_of(item.at)):
        key = (item.watch, item.measured.model, item.measured.set)
        yield _row(item, last.get(key))
        if item.state == "measured":
            last[key] = item


def _row(item: _Seen, before: _Seen | None) -> HistoryRow:
    measured = item.measured
    shards, changes = ShardChange([], []), [*item.remarks]
    if before is not None and item.state == "measured":
        shards = shards_changed(before.measured, measured)
        changes += changes_between(before.measured, measured, before.settings, item.settings)
    return HistoryRow(
        at=item.at,
        state=item.state,
        watch=item.watch,
        model=measured.model,
        set=measured.set,
        night=item.night,
        run=measured.run,
        sentence=one_line(measured.error or ""),
        n_pairs=measured.n_pairs,
        figures=measured.figures,
        intervals=measured.intervals,
        outcome=outcome_of(gate.outcome for gate in measured.gates),
        gates=measured.gates,
        shards_added=shards.added,
        shards_removed=shards.removed,
        changes=changes,
        what=measured.what,
        evaluation=measured.evaluation,
        baseline_evaluation=measured.baseline_evaluation,
        report=measured.report,
    )
