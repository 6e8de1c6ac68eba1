"""What happens where a night's own process cannot say how it ended: hooks of the flow, called by whoever sees it end.

A worker or `uwm serve` calls them for a process that was killed, Prefect's engine for a flow that raised.
"""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Crashed
from pydantic import ValidationError

from data_specs.errors import PipelineError
from data_specs.night import Night, NightStatus
from data_specs.store_place import StorePlace, store_place_of
from data_specs.watch import Watch
from data_specs.watch_file import load_watch
from data_specs.wording import one_line
from flows.nightly.looking_back.ended import state_of
from flows.nightly.nights import read_nights, watches, write_night
from flows.nightly.telling.telling import tell
from tasks.lineage.circumstances import now

_WITHOUT_RESULT = ("running", "interrupted")


def tell_of_crash(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Put down that a night has ended without a result, and tell whom its watch names; once for each night.

    For `on_crashed`, `on_failure` and `on_cancellation`. A night that came to its own end is left as it is.
    """
    watch, root = _asked(flow_run)
    why = one_line(f"{state.name or state.type.value}: {state.message or 'no further word'}")
    night = night_of_flow_run(root, watch.name, str(flow_run.id)) or _never_began(watch, flow_run)
    if night.status in _WITHOUT_RESULT and not night.told:
        # Whoever is in a hurry to end does not wait for servers that do not answer.
        status: NightStatus = "failed" if state.is_failed() else "interrupted"
        _end_without_result(watch, root, night, why, status=status, patient=not state.is_cancelling())


def settle_dead_nights(watch: Watch, root: Path) -> list[str]:
    """End the nights of a watch that are on record as running although their processes are gone; a sentence for each.

    Their flow runs end as crashed where the server still takes them for running, and whom the watch names is told.
    """
    said = []
    for night in read_nights(root, watch.name):
        if state_of(night.status, night.started, night.host, night.process) == "crashed":
            _end_without_result(watch, root, night, f"its process {night.process} is gone")
            if night.flow_run_id is not None:
                _crash_flow_run(UUID(night.flow_run_id))
            said.append(f"the night of {night.started[:16]} ended without a result: its process is gone")
    return said


def _end_without_result(
    watch: Watch, root: Path, night: Night, why: str, *, status: NightStatus = "interrupted", patient: bool = True
) -> None:
    ended = {"status": status, "ended": night.ended or now(), "error": night.error or why}
    night = night.model_copy(update=ended)
    # First of all it is kept: whoever is told may be slow to answer.
    write_night(root, night)
    told = tell(watch, night, "crashed", patient=patient)
    write_night(root, night.model_copy(update={"told": told}))


def _crash_flow_run(flow_run_id: UUID) -> None:
    crashed: State[Any] = Crashed(message="Its process is gone.")
    with get_client(sync_client=True) as client, suppress(PrefectHTTPStatusError, ObjectNotFound):
        run = client.read_flow_run(flow_run_id)
        if run.state is not None and not run.state.is_final():
            client.set_flow_run_state(flow_run_id, crashed, force=True)


def _never_began(watch: Watch, flow_run: FlowRun) -> Night:
    """The night of a flow run whose process ended before it could put anything down."""
    started = flow_run.start_time or flow_run.expected_start_time or flow_run.created
    return Night(
        id=f"{flow_run.id}",
        watch=watch.name,
        settings=watch.model_dump(mode="json"),
        due=_in_utc(flow_run.expected_start_time) if flow_run.auto_scheduled and flow_run.expected_start_time else None,
        started=now() if started is None else _in_utc(started),
        status="running",
        flow_run_id=str(flow_run.id),
    )


def night_of_flow_run(root: Path, watch: str, flow_run_id: str) -> Night | None:
    """The night that a flow run of Prefect's left, if it came to that."""
    nights = (night for night in read_nights(root, watch) if night.flow_run_id == flow_run_id)
    return next(nights, None)


def _asked(flow_run: FlowRun) -> tuple[Watch, Path]:
    """The watch and the store that a run of `reevaluate` was given.

    Raises:
        PipelineError: the watch cannot be read any more, and no night of this store tells what it was.
    """
    given, store = flow_run.parameters["watch"], flow_run.parameters.get("store", "store")
    place = store_place_of(StorePlace.model_validate(store) if isinstance(store, dict) else store)
    root = Path(place.folder).absolute()
    try:
        return load_watch(Path(given)) if isinstance(given, str) else Watch.model_validate(given), root
    except (PipelineError, ValidationError):
        # A slip in the file must not keep those in the dark whom it named before.
        known = _as_last_known(root, flow_run)
        if known is None:
            raise
        return known, root


def _as_last_known(root: Path, flow_run: FlowRun) -> Watch | None:
    names = watches(root)
    if len(names) > 1 and flow_run.deployment_id is not None:
        with get_client(sync_client=True) as client:
            served = client.read_deployment(flow_run.deployment_id).name
        names = [name for name in names if name == served]
    nights = read_nights(root, names[0]) if len(names) == 1 else []
    for night in reversed(nights):
        with suppress(ValidationError):
            return Watch.model_validate(night.settings)
    return None


def _in_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
