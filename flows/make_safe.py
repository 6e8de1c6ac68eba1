"""The whole pipeline: calibrate, edit, evaluate before and after."""

from data_specs.fields import Workers
from data_specs.manifest import ArtifactRef
from data_specs.placement import Device
from data_specs.run_result import RunResult
from data_specs.store_place import StoreLocation
from flows.captions.models import OWN_CONTROL, caption_models, require_captionable
from flows.decorator import flow
from flows.edit import write_model
from flows.measure import (
    EvaluationSets,
    control_edit,
    embed_together,
    measure_edit,
    measure_original,
    overlap_of,
    selected_edit,
)
from flows.parameters import Config
from flows.remotes.sharing import carry_out
from flows.report import report_of
from flows.scores import scores_of
from flows.session import Session, open_session


@flow(name="make-safe", run_name="{config.name}: make-safe")
def make_safe(
    config: Config, store: StoreLocation = "store", device: Device = "auto", workers: Workers = None
) -> RunResult:
    """Edit a model with Unsafe Weights Manipulation and compare it with the original.

    Args:
        config: the run's settings, or the path of their file.
        store: folder of the artifact store; or a mapping `{folder, remote}`, see docs/remote.md.
        device: auto, cpu, cuda, `cuda:0,cuda:1`, all or cpu:N; or a mapping `{devices, runner, address}`.
        workers: processes that decode samples; None for one a core, at most 4.

    Returns:
        All artifacts, and metrics `original` and `edited`; with `captioning` also of the control `random`, and with
        `captioning.tower: model` of `captioner`, the LLaVA as it is, and `tower`, with the run's model in it.
    """
    with open_session(config, store, device, workers) as session:
        carry_out([session], lambda: steps_of_make_safe(session))
        return session.result()


def steps_of_make_safe(session: Session) -> None:
    """Score, edit, measure, caption where the settings say how, and report."""
    require_captionable(session, [session.config.vision])
    edit = steps_of_edit(session)
    if session.config.captioning is not None:
        control = control_edit(session, edit, session.config.seed, OWN_CONTROL)
        caption_models(session, {"original": None, "edited": edit, OWN_CONTROL: control})
    report_of(session, {"original": "original", "edited": "edited"})


def steps_of_edit(session: Session) -> ArtifactRef:
    """Score, edit and measure: `scores`, `edit`, `model`, `evaluation.original` and `evaluation.edited`; returns the edit."""
    # The evaluation set is checked before hours go into calibration.
    sets = EvaluationSets(session)
    edit = selected_edit(session, scores_of(session))
    overlap_of(session, [session.config])
    write_model(session, edit, "model")
    embed_together(session, sets, [edit])
    measure_original(session, sets)
    measure_edit(session, sets, edit, "edited")
    return edit
