"""The models of a watch on its sets, one after the other, the baseline first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import State

from data_specs.errors import PipelineError
from data_specs.fields import Workers
from data_specs.night import Measured
from data_specs.placement import Device
from data_specs.run_result import RunResult
from data_specs.store_place import StorePlace
from data_specs.watch import BASELINE, Watch, WatchedModel
from data_specs.wording import first_line, one_line
from flows.nightly.account import NightAccount
from flows.nightly.judging import Baselines, measured_of
from flows.nightly.measuring import measure_watched
from flows.nightly.nights import read_nights
from flows.nightly.targets import Target, config_of, find_target
from tasks.lineage.runs import run_of_flow_run
from tasks.lineage.store import Store


@dataclass(frozen=True)
class NotMeasured:
    """Why a model was not measured on a set."""

    model: str
    on: str
    error: Exception


class Turns:
    """Measures, and keeps what went wrong: one model's fault keeps no other from being measured."""

    def __init__(self, store: Store, watch: Watch, account: NightAccount) -> None:
        """Nothing is measured yet."""
        self._store, self._watch, self._account = store, watch, account
        self.faults: list[NotMeasured] = []
        self.baselines = Baselines()
        self._baseline_is: dict[str, str | None] = {}  # which model it is, by set
        nights = read_nights(store.root, watch.name)
        completed = (item for night in nights for item in night.measured if item.status == "completed")
        self._before = {(item.model, item.set): item for item in completed}  # of the newest night

    def measure_all(self, place: StorePlace, device: Device, workers: Workers) -> None:
        """Measure every model on every set; what goes wrong is put on the account."""
        targets, baseline = self._targets()
        for target in targets:
            for on in self._watch.sets:
                begin: Any = measure_watched  # Prefect's `return_state` is in no signature
                state: State[Any] = begin(
                    config_of(target, self._watch, on),
                    target.name,
                    on,
                    place,
                    device,
                    workers,
                    target.edit,
                    target.run is not None,
                    return_state=True,
                )
                self._take(target, on, state, is_baseline=target.name == baseline)

    def _targets(self) -> tuple[list[Target], str]:
        """What the watch names, the baseline before all others, and what the baseline is called among them."""
        found = [target for name, named in self._watch.models.items() if (target := self._find(name, named))]
        if self._watch.baseline is None:
            return found, ""
        baseline = self._find(BASELINE, self._watch.baseline)
        if baseline is None:
            return found, ""
        if baseline.evaluation is not None:
            self.baselines.evaluations = dict.fromkeys(self._watch.sets, baseline.evaluation)
            return found, ""
        same = next((target for target in found if target.is_same(baseline)), baseline)
        return [same, *(target for target in found if target is not same)], same.name

    def _find(self, name: str, named: WatchedModel) -> Target | None:
        try:
            return find_target(self._store, name, named)
        except PipelineError as error:
            for on in self._watch.sets:
                self._fail(name, on, error)
            return None

    def _take(self, target: Target, on: str, state: "State[Any]", *, is_baseline: bool) -> None:
        result = state.result(raise_on_failure=False)
        if not isinstance(result, RunResult):
            error = result if isinstance(result, Exception) else PipelineError(state.message or "it was not measured")
            self._fail(target.name, on, error)
            return
        before = self._before.get((target.name, on))
        measured = measured_of(self._store, target.name, on, result, before)
        if is_baseline and measured.evaluation is not None:
            self.baselines.add(measured)
            self._baseline_is[on] = measured.what
        if (baseline := self.baselines.evaluations.get(on)) is not None:
            known = {"baseline_evaluation": baseline.version, "baseline": self._baseline_is.get(on)}
            measured = measured.model_copy(update=known)
        self._account.add(_with_run(measured, self._store.root, state))

    def _fail(self, model: str, on: str, error: Exception) -> None:
        self.faults.append(NotMeasured(model, on, error))
        told = one_line(first_line(error) or type(error).__name__)
        self._account.add(Measured(model=model, set=on, status="failed", error=told))


def _with_run(measured: Measured, root: Path, state: "State[Any]") -> Measured:
    """The same, with the run that measured it: Prefect's, and the record that it left in the store."""
    flow_run_id = None if state.state_details is None else state.state_details.flow_run_id
    if flow_run_id is None:
        return measured
    run = run_of_flow_run(root, str(flow_run_id))
    return measured.model_copy(update={"flow_run_id": str(flow_run_id), "run": run})


def not_measured_in_words(faults: Sequence[NotMeasured]) -> list[str]:
    """A sentence for each thing that went wrong, whatever it hit."""
    hit: dict[str, list[str]] = {}
    for fault in faults:
        told = one_line(first_line(fault.error) or type(fault.error).__name__)
        hit.setdefault(told, []).append(f"{fault.model} on {fault.on}")
    return [f"not measured: {', '.join(where)}: {error}" for error, where in hit.items()]
