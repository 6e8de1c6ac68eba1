"""The account of one night, on disk from its first moment: a night that dies is still there as one that did."""

import os
import platform
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from data_specs.gate import GateResult
from data_specs.night import Measured, Night, NightOutcome, NightStatus
from data_specs.watch import Watch
from flows.nightly.nights import write_night
from tasks.lineage.circumstances import now, user_name

# The worst of its gates is what a night came to.
_WORST: tuple[NightOutcome, ...] = ("failed", "unsure", "not_comparable", "passed")
_OUTCOMES: dict[str, NightOutcome] = {
    "pass": "passed",
    "fail": "failed",
    "unsure": "unsure",
    "not_comparable": "not_comparable",
}


class NightAccount:
    """What is known of a night so far; a store that cannot be written keeps none."""

    def __init__(self, root: Path, watch: Watch) -> None:
        """Begin a night of a watch in the store at `root`."""
        started = now()
        self._root = root
        self.night = Night(
            id=f"{started[:19].replace(':', '').replace('-', '')}-{secrets.token_hex(4)}",
            watch=watch.name,
            settings=watch.model_dump(mode="json"),
            due=due_time(),
            started=started,
            status="running",
            flow_run_id=flow_run.id,
            user=user_name(),
            host=platform.node(),
            process=os.getpid(),
        )
        self._write()

    def add(self, measured: Measured) -> None:
        """One model on one set is through, well or not."""
        self._set(measured=[*self.night.measured, measured])

    def judged(self, gates: Sequence[Sequence[GateResult]]) -> None:
        """What became of the gates of each that was added, in their order."""
        each = zip(self.night.measured, gates, strict=True)
        self._set(measured=[item.model_copy(update={"gates": [*results]}) for item, results in each])

    def end(self, status: NightStatus, *, error: str | None = None, exit_code: int = 0) -> Night:
        """The night is over."""
        outcome: NightOutcome | None = worst_outcome(self.night)
        if status != "completed" and outcome != "failed":
            outcome = None  # not all gates were looked at
        self._set(status=status, outcome=outcome, error=error, exit_code=exit_code, ended=now())
        return self.night

    def told(self, what: Sequence[str]) -> Night:
        """Who was told, and how that went."""
        self._set(told=[*self.night.told, *what])
        return self.night

    def _set(self, **values: Any) -> None:
        self.night = self.night.model_copy(update=values)
        self._write()

    def _write(self) -> None:
        with suppress(OSError):
            write_night(self._root, self.night)


def worst_outcome(night: Night) -> NightOutcome:
    """What a night came to: the worst that became of any of its gates."""
    found = {_OUTCOMES[result.outcome] for measured in night.measured for result in measured.gates}
    return next((outcome for outcome in _WORST if outcome in found), "passed")


def due_time() -> str | None:
    """When the schedule wanted this flow run; None where somebody asked for it."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or not context.flow_run.auto_scheduled:
        return None
    expected = context.flow_run.expected_start_time
    return None if expected is None else expected.astimezone(UTC).isoformat(timespec="milliseconds")
