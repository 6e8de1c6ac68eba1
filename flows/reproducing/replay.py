"""The steps of a run taken again: the same flow with the same settings, in a store of whoever asks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter, ValidationError

from data_specs.config_file import require_absolute
from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef
from data_specs.placement import Device
from data_specs.run_config import RunConfig
from data_specs.wording import shown
from flows.ablate import steps_of_ablate
from flows.compare import steps_of_compare
from flows.demo import steps_of_demo
from flows.edit import steps_of_selection
from flows.evaluate import steps_of_evaluation
from flows.make_safe import steps_of_make_safe
from flows.nightly.measuring import steps_of_measuring
from flows.reproducing.asked import AskedFlow
from flows.runners import placed
from flows.scores import scores_of
from flows.session import Session
from flows.sweep import Choose, steps_of_sweep
from tasks.experiments.ablation_points import ablation_points
from tasks.lineage.digest import canonical_json
from tasks.lineage.store import Store

Parameters = Mapping[str, JsonValue]
_Steps = Callable[[Sequence[Session], Parameters], None]


@dataclass(frozen=True)
class Request:
    """What a run was asked for, with its settings; of a comparison of several runs, those of each."""

    asked: AskedFlow
    configs: list[RunConfig]

    @property
    def key(self) -> str:
        """The same for the same flow with the same settings."""
        return canonical_json(
            [self.asked.model_dump(mode="json"), *(each.model_dump(mode="json") for each in self.configs)]
        )


def replay(request: Request, store: Store, device: Device, workers: int | None) -> None:
    """Take the steps of a run again; no server is asked, and the store gets no record.

    Args:
        request: what the run was asked for.
        store: where its artifacts are found and made.
        device: as for a run.
        workers: processes that decode samples.

    Raises:
        ArtifactError: there is no such flow, or not with such parameters.
        PipelineError: as the run would.
    """
    for config in request.configs:
        require_absolute(config)
    with placed(device) as place:
        sessions = [Session(config, store, place, workers) for config in request.configs]
        try:
            take_steps(request.asked, sessions)
        finally:
            for session in sessions:
                session.close()


def take_steps(asked: AskedFlow, sessions: Sequence[Session]) -> None:
    """Do what a flow does within its sessions.

    Raises:
        ArtifactError: there is no such flow, or not with such parameters.
    """
    steps = _steps_of(asked)
    try:
        steps(sessions, asked.parameters)
    except (KeyError, ValidationError) as error:
        raise ArtifactError(
            f"the flow {asked.flow} was asked for with parameters that this version does not know:"
            f" {shown(asked.parameters)}"
        ) from error


def _steps_of(asked: AskedFlow) -> _Steps:
    if asked.flow not in _FLOWS:
        raise ArtifactError(
            f"nothing here is called {shown(asked.flow)}, which made the artifact; there are {', '.join(_FLOWS)}"
        )
    return _FLOWS[asked.flow]


def _sweep(sessions: Sequence[Session], given: Parameters) -> None:
    taus = TypeAdapter[object](list[float] | dict[str, list[float]]).validate_python(given["taus"])
    alphas = TypeAdapter(list[float]).validate_python(given["alphas"])
    choose = TypeAdapter(Choose | str | None).validate_python(given.get("choose"))
    asked = Choose(limits=choose) if isinstance(choose, str) else choose
    steps_of_sweep(sessions[0], taus, alphas, str(given["encoder"]), asked)  # type: ignore[arg-type]


def _ablate(sessions: Sequence[Session], given: Parameters) -> None:
    axes = TypeAdapter(dict[str, list[JsonValue]]).validate_python(given["axes"])
    steps_of_ablate(sessions[0], ablation_points(sessions[0].config, axes))


def _artifact(given: JsonValue) -> ArtifactRef | None:
    return None if given is None else ArtifactRef.model_validate(given)


def _evaluate(sessions: Sequence[Session], given: Parameters) -> None:
    name = given.get("name")
    steps_of_evaluation(sessions[0], _artifact(given.get("model")), None if name is None else str(name))


def _measure_watched(session: Session, given: Parameters) -> None:
    edit, makes_edit = _artifact(given.get("edit")), bool(given.get("makes_edit"))
    steps_of_measuring(session, str(given["model"]), edit, makes_edit=makes_edit)


_FLOWS: dict[str, _Steps] = {
    "make-safe": lambda sessions, _: steps_of_make_safe(sessions[0]),
    "calibrate": lambda sessions, _: _scored(sessions[0]),
    "edit": lambda sessions, given: steps_of_selection(sessions[0], _artifact(given.get("scores"))),
    "evaluate": _evaluate,
    "sweep": _sweep,
    "compare": lambda sessions, given: steps_of_compare(sessions, given["controls"]),  # type: ignore[arg-type]
    "ablate": _ablate,
    "measure-watched": lambda sessions, given: _measure_watched(sessions[0], given),
    "demo": lambda sessions, _: steps_of_demo(sessions[0]),
}


def _scored(session: Session) -> None:
    scores_of(session)
