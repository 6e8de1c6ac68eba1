"""What a run leaves behind in its store beside artifacts: who asked for what, when, how it ended and what it measured."""

import json
import os
import platform
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from prefect.runtime import flow_run

from data_specs.evaluation_files import read_intervals
from data_specs.plan import LastRun
from data_specs.run_result import RunResult
from data_specs.sign_filter import SIGN_NOTE, is_filtered
from data_specs.wording import one_line
from flows.reproducing.asked import asked_of_this_flow
from flows.trackers import tell_hook
from tasks.lineage.circumstances import now, user_name
from tasks.lineage.listeners import Listeners
from tasks.lineage.runs import RUNS
from tasks.lineage.store import Store

_MEASURED = ("evaluation", "caption_evaluation")  # kinds of artifacts with intervals
Status = Literal["running", "completed", "failed", "interrupted"]


@dataclass
class RunRecord:
    """One run's record, `STORE/.runs/ID.json`; a run that was killed outright stays `running`."""

    path: Path
    content: dict[str, Any]
    listeners: Listeners
    results: list[RunResult] = field(default_factory=list)

    def write(self, status: Status, error: BaseException | None = None) -> None:
        """Put the record down as it stands; a store that cannot be written gets none."""
        self.content["status"] = status
        if status != "running":
            self.content["ended"] = now()
        if error is not None:
            self.content["error"] = one_line(f"{type(error).__name__}: {error}")
        if self.results:
            self.content |= _outcome(self.results)
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft = self.path.with_suffix(".tmp")
            draft.write_text(json.dumps(self.content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            draft.replace(self.path)
        self.listeners.recorded(self.content)


@contextmanager
def recorded(store: Store, settings: Sequence[dict[str, Any]]) -> Iterator[RunRecord]:
    """Keep the record of the block: as it begins, and as it ends.

    Args:
        store: where the record lies.
        settings: of the run, as they were resolved; of a comparison of several, all of them.
    """
    started = now()
    name = f"{started[:19].replace(':', '').replace('-', '')}-{secrets.token_hex(4)}"
    content = {
        "id": name,
        "command": sys.argv,
        "settings": settings[0] if len(settings) == 1 else [*settings],
        "user": user_name(),
        "host": platform.node(),
        "process": os.getpid(),
        "started": started,
    }
    asked = asked_of_this_flow()
    if asked is not None:
        content["asked"] = asked.model_dump(mode="json")
    if is_filtered(settings):
        content["remarks"] = [SIGN_NOTE]
    if flow_run.id is not None:
        content["flow_run_id"] = flow_run.id
    record = RunRecord(store.root / RUNS / f"{name}.json", content, store.listeners)
    record.write("running")
    try:
        yield record
    except Exception as error:
        record.write("failed", error)
        tell_hook(record.content)
        raise
    except BaseException as error:  # a signal, or a flow that was cancelled
        record.write("interrupted", error)
        raise
    record.write("completed")
    tell_hook(record.content)


def last_run(root: Path, name: str) -> LastRun | None:
    """The last run of a name in the store at `root` that came to its end."""
    for path in sorted((root / RUNS).glob("*.json"), reverse=True):
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["status"] == "completed" and content["settings"]["name"] == name:
                spent = datetime.fromisoformat(content["ended"]) - datetime.fromisoformat(content["started"])
                return LastRun(
                    id=content["id"],
                    started=content["started"],
                    seconds=spent.total_seconds(),
                    computed=content["computed"],
                    reused=content["reused"],
                )
    return None


def together(results: Sequence[RunResult]) -> RunResult:
    """One account of several: artifacts and metrics of all but the first run behind the run's name."""
    first = results[0]
    seconds: dict[str, float] = {}
    for result in results:
        seconds |= {stage: seconds.get(stage, 0.0) + spent for stage, spent in result.seconds.items()}
    return first.model_copy(
        update={
            "artifacts": {f"{run}{role}": at for run, item in _named(results) for role, at in item.artifacts.items()},
            "metrics": {f"{run}{model}": of for run, item in _named(results) for model, of in item.metrics.items()},
            "seconds": seconds,
            "computed": sum(result.computed for result in results),
            "reused": sum(result.reused for result in results),
        }
    )


def _named(results: Sequence[RunResult]) -> Iterator[tuple[str, RunResult]]:
    for number, result in enumerate(results):
        yield (f"{result.name}." if number else ""), result


def _outcome(results: Sequence[RunResult]) -> dict[str, Any]:
    intervals: dict[str, dict[str, tuple[float, float]]] = {}
    for run, item in _named(results):
        for role, place in item.artifacts.items():
            kind, _, model = role.partition(".")
            if kind in _MEASURED and model:
                with suppress(OSError, ValueError):
                    intervals.setdefault(run + model, {}).update(read_intervals(Path(place.path)))
    result = together(results)
    return {
        "artifacts": {role: place.version for role, place in result.artifacts.items()},
        "computed": result.computed,
        "reused": result.reused,
        "figures": result.metrics,
        "intervals": intervals,
        "seconds": result.seconds,
    }
