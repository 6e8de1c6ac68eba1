"""The nights of a store's watches and when they were due: `STORE/.watches/WATCH/`."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from data_specs.night import Night, Schedule

WATCHES = ".watches"
_SCHEDULE = "schedule.jsonl"


def watches(root: Path) -> list[str]:
    """The names of all watches that left something in the store at `root`."""
    return sorted(folder.name for folder in (root / WATCHES).glob("*") if folder.is_dir())


def write_night(root: Path, night: Night) -> None:
    """Put a night down as it stands, in place of what was there of it.

    Raises:
        OSError: the store cannot be written.
    """
    path = root / WATCHES / night.watch / f"{night.id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(night.model_dump(mode="json"), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(path)


def read_nights(root: Path, watch: str) -> list[Night]:
    """The nights of a watch, the oldest first; a file that cannot be read as one is left out."""
    found = []
    for path in (root / WATCHES / watch).glob("*.json"):
        with suppress(OSError, ValidationError):
            found.append(Night.model_validate_json(path.read_bytes()))
    return sorted(found, key=lambda night: (night.started, night.id))


def add_schedule(root: Path, watch: str, schedule: Schedule) -> None:
    """Note when nights are due from now on, unless that is what the last note says.

    Raises:
        OSError: the store cannot be written.
    """
    if (known := read_schedules(root, watch)) and same_times(known[-1], schedule):
        return
    path = root / WATCHES / watch / _SCHEDULE
    path.parent.mkdir(parents=True, exist_ok=True)
    # One write of one line, which POSIX appends whole.
    line = json.dumps(schedule.model_dump(mode="json"), sort_keys=True) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def read_schedules(root: Path, watch: str) -> list[Schedule]:
    """The notes of when nights were due, the oldest first."""
    return [*_schedules(root / WATCHES / watch / _SCHEDULE)]


def same_times(first: Schedule, second: Schedule) -> bool:
    """Whether two schedules mean the same nights."""
    return (first.cron, first.timezone) == (second.cron, second.timezone)


def _schedules(path: Path) -> Iterator[Schedule]:
    with suppress(OSError):
        for line in path.read_bytes().splitlines():
            with suppress(ValidationError):
                yield Schedule.model_validate_json(line)
