"""One model of a watch on one set: the flow `MODEL @ SET`."""

from typing import Any

from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.states import Cancelled

from data_specs.errors import PipelineError
from data_specs.families import encoder_of
from data_specs.fields import Workers
from data_specs.manifest import ArtifactRef
from data_specs.placement import Device
from data_specs.run_result import RunResult
from data_specs.store_place import StoreLocation
from data_specs.wording import first_line, one_line
from flows.captions.models import caption_models, require_captionable, require_captioner
from flows.decorator import flow
from flows.measure import EvaluationSets, measure_edit, measure_original, overlap_of, selected_edit
from flows.parameters import Config
from flows.remotes.sharing import carry_out
from flows.report import report_of
from flows.scores import scores_of
from flows.session import Session, open_session

# The name under which the measured model's evaluation is kept.
MEASURED = "measured"


@flow(name="measure-watched", run_name="{model} @ {on}")
def measure_watched(
    config: Config,
    model: str,
    on: str,
    store: StoreLocation = "store",
    device: Device = "auto",
    workers: Workers = None,
    edit: ArtifactRef | None = None,
    makes_edit: bool = False,
) -> RunResult:
    """Measure one model of a watch on one set.

    Within a night, what goes wrong ends it as NotMeasured, and the night says so and fails: one fault is one failed run.

    Args:
        config: the run's settings, or the path of their file.
        model: its name in the watch.
        on: the set's name.
        store: folder of the artifact store; or a mapping `{folder, remote}`, see docs/remote.md.
        device: auto, cpu, cuda, `cuda:0,cuda:1`, all or cpu:N; or a mapping `{devices, runner, address}`.
        workers: processes that decode samples; None for one a core, at most 4.
        edit: on the model of the settings; None measures it as it is.
        makes_edit: make the edit of the settings first, and measure that.

    Returns:
        Artifacts `evaluation.measured` and `report`; with an edit that was made also `edit`, and with the settings'
        `captioning` also `caption_evaluation.measured`.
    """
    try:
        with open_session(config, store, device, workers) as session:
            carry_out([session], lambda: steps_of_measuring(session, model, edit, makes_edit=makes_edit))
            return session.result()
    except Exception as error:
        if _is_alone():
            raise
        if not isinstance(error, PipelineError):
            get_run_logger().exception("not measured")
        # Prefect takes it for the state that the run ends in.
        not_measured: Any = Cancelled(name="NotMeasured", message=one_line(first_line(error)), data=error)
        return not_measured  # type: ignore[no-any-return]


def steps_of_measuring(session: Session, model: str, edit: ArtifactRef | None, *, makes_edit: bool) -> None:
    """Measure the model of the settings, an edit of it, or that which its run selects."""
    sets = EvaluationSets(session)
    if makes_edit:
        require_captionable(session, [session.config.vision])
        edit = selected_edit(session, scores_of(session))
        overlap_of(session, [session.config])
    on_tower = [] if edit is None else _layers_of_vision(session, edit)
    if not makes_edit:
        require_captioner(session, on_tower)
    if edit is None:
        measure_original(session, sets, MEASURED)
    else:
        measure_edit(session, sets, edit, MEASURED)
    # An edit of the text encoder alone changes no caption.
    caption_models(session, {MEASURED: edit if on_tower else None})
    report_of(session, {model: MEASURED})


def _layers_of_vision(session: Session, edit: ArtifactRef) -> list[str]:
    """Those that an edit changes; of an edit that a plan does not have yet nobody asks."""
    return [layer for layer in session.store.manifest(edit).counts["layers"] if encoder_of(layer) == "vision"]


def _is_alone() -> bool:
    context = FlowRunContext.get()
    return context is None or context.flow_run is None or context.flow_run.parent_task_run_id is None
