"""A night of a watch: every model on every set, with only what is new computed, held against the gates."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from data_specs.errors import GateFailed, GateUndecided, PipelineError
from data_specs.fields import Workers
from data_specs.gate import GateResult
from data_specs.moments import moment_of
from data_specs.night import Measured, Night, NightStatus
from data_specs.notification import Event
from data_specs.placement import Device
from data_specs.store_place import StoreLocation, StorePlace, store_place_of
from data_specs.watch import Watch
from data_specs.watch_file import require_absolute_watch
from data_specs.wording import first_line, one_line
from flows.decorator import flow
from flows.nightly.account import NightAccount
from flows.nightly.caption_gates import require_captions_of_gates
from flows.nightly.judging import judge
from flows.nightly.looking_back.missed import MissedNight, missed_nights
from flows.nightly.nights import read_nights, read_schedules
from flows.nightly.page import show_night_in_prefect
from flows.nightly.parameters import WatchOrFile
from flows.nightly.serving.hooks import tell_of_crash
from flows.nightly.serving.one_at_a_time import turn_in_store
from flows.nightly.telling.telling import tell
from flows.nightly.turns import NotMeasured, Turns, not_measured_in_words
from flows.remotes.sharing import look_into
from flows.shared_model import models_shared
from tasks.lineage.store import Store

_MOST_TOLD = 3


@flow(name="reevaluate", run_name="{watch.name}: reevaluate")
def reevaluate(
    watch: WatchOrFile,
    store: StoreLocation = "store",
    device: Device = "auto",
    workers: Workers = None,
    strict: bool = False,
) -> Night:
    """Measure the models of a watch on its sets, hold them against its gates, and tell whom it names.

    Args:
        watch: the watch, or the path of its file.
        store: folder of the artifact store; or a mapping `{folder, remote}`, see docs/remote.md.
        device: auto, cpu, cuda, `cuda:0,cuda:1`, all or cpu:N; or a mapping `{devices, runner, address}`.
        workers: processes that decode samples; None for one a core, at most 4.
        strict: whether a gate that cannot be decided fails the night, too.

    Returns:
        The account of the night, as it lies in the store.

    Raises:
        GateFailed: a gate failed.
        GateUndecided: with `strict`, a gate is unsure or not comparable.
        PipelineError: a model could not be measured on a set; the others were.
    """
    require_absolute_watch(watch)
    where = store_place_of(store)
    place = StorePlace(folder=where.folder, remote=[*where.remote, *watch.store.remote])
    opened = Store(place.folder)
    with turn_in_store(opened.root, watch.name):
        return _night(opened, watch, place, device, workers, strict=strict)


# Whoever sees the end of a run that cannot say it itself calls these.
reevaluate.on_failure(tell_of_crash)
reevaluate.on_crashed(tell_of_crash)
reevaluate.on_cancellation(tell_of_crash)


def _night(opened: Store, watch: Watch, place: StorePlace, device: Device, workers: Workers, *, strict: bool) -> Night:
    account = NightAccount(opened.root, watch)
    _tell_of_missed(account, watch, opened.root)
    try:
        require_captions_of_gates(opened, watch)
        turns = Turns(opened, watch, account)
        with models_shared():
            look_into([opened], place.remote)
            turns.measure_all(place, device, workers)
        account.judged(judge(opened, watch, account.night.measured, turns.baselines))
    except BaseException as error:
        _end_early(account, watch, error)
        raise
    finally:
        opened.uses.close()
    fault = _fault(account.night, turns.faults, strict=strict)
    night = _end(account, watch, "failed" if turns.faults else "completed", fault)
    if fault is not None:
        fault.result = night
        raise fault
    return night


def _tell_of_missed(account: NightAccount, watch: Watch, root: Path) -> None:
    """Tell of nights that were due since the last one began and never came; once, by the first that comes again."""
    nights = read_nights(root, watch.name)
    before = [moment_of(night.started) for night in nights if night.id != account.night.id]
    missed = missed_nights(read_schedules(root, watch.name), nights, moment_of(account.night.started))
    since = [item for item in missed if before and item.at > before[-1]]
    if since:
        never = account.night.model_copy(update={"due": since[-1].at.isoformat(), "error": _missed_in_words(since)})
        account.told(tell(watch, never, "missed"))


def _missed_in_words(missed: Sequence[MissedNight]) -> str:
    if len(missed) == 1:
        return missed[0].sentence
    return f"{len(missed)} nights in a row, the last of them: {missed[-1].sentence}"


def _end(account: NightAccount, watch: Watch, status: NightStatus, fault: PipelineError | None) -> Night:
    night = account.end(
        status,
        error=None if fault is None else one_line(str(fault)),
        exit_code=0 if fault is None else fault.exit_code,
    )
    night = _tell(account, watch, _events(night))
    show_night_in_prefect(night)
    return night


def _end_early(account: NightAccount, watch: Watch, error: BaseException) -> None:
    """A night that broke off: by a fault that is told, or by a signal or cancellation."""
    told = one_line(f"{type(error).__name__}: {first_line(error)}")
    if isinstance(error, Exception):
        code = error.exit_code if isinstance(error, PipelineError) else 1
        account.end("failed", error=told, exit_code=code)
        _tell(account, watch, ["crashed"])
    else:
        account.end("interrupted", error=told, exit_code=1)
        _tell(account, watch, ["crashed"], patient=False)


def _events(night: Night) -> list[Event]:
    found: list[Event] = [night.outcome] if night.outcome is not None else []
    return [*found, "crashed"] if night.status == "failed" else found


def _tell(account: NightAccount, watch: Watch, events: Iterable[Event], *, patient: bool = True) -> Night:
    for event in events:
        account.told(tell(watch, account.night, event, patient=patient))
    return account.night


def _fault(night: Night, faults: Sequence[NotMeasured], *, strict: bool) -> PipelineError | None:
    """What a night fails by, the worst first; None where it is well."""
    gates = [(item, result) for item in night.measured for result in item.gates]
    failed = [_sentence(item, result) for item, result in gates if result.outcome == "fail"]
    unmeasured = not_measured_in_words(faults)
    if failed:
        return GateFailed(_told(failed, unmeasured))
    if faults:
        first = faults[0].error
        kind = type(first) if isinstance(first, PipelineError) else PipelineError
        return kind(_told(unmeasured))
    open_ones = [_sentence(item, result) for item, result in gates if result.outcome != "pass"]
    return GateUndecided(_told(open_ones)) if strict and open_ones else None


def _sentence(measured: Measured, result: GateResult) -> str:
    which = f"{measured.model} on {measured.set}: {result.sentence}"
    if measured.what is None or measured.baseline in (None, measured.what):
        return which
    return f"{which}; {measured.model} is {measured.what[:12]}, the baseline {str(measured.baseline)[:12]}"


def _told(sentences: Sequence[str], more: Sequence[str] = ()) -> str:
    left = len(sentences) - _MOST_TOLD
    return "; ".join([*sentences[:_MOST_TOLD], *([f"and {left} more"] if left > 0 else []), *more[:_MOST_TOLD]])
