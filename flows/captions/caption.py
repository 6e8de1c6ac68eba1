"""Captions of a LLaVA before and after the edit of its vision tower, and of a random control, judged and measured."""

from data_specs.errors import SpecError
from data_specs.experiment import ORIGINAL
from data_specs.fields import Workers
from data_specs.placement import Device
from data_specs.run_result import RunResult
from data_specs.store_place import StoreLocation
from flows.captions.models import OWN_CONTROL, caption_models, require_captionable
from flows.decorator import flow
from flows.measure import control_edit, selected_edit
from flows.parameters import Config
from flows.remotes.sharing import carry_out
from flows.report import report_of_captions
from flows.scores import scores_of
from flows.session import Session, open_session


@flow(name="caption", run_name="{config.name}: caption")
def caption_edit(
    config: Config,
    store: StoreLocation = "store",
    device: Device = "auto",
    workers: Workers = None,
    judge_again: bool = False,
) -> RunResult:
    """Caption pictures with a LLaVA whose tower is as it was, edited, and edited at random; judge and compare.

    Args:
        config: the run's settings, with `captioning`.
        store: folder of the artifact store; or a mapping `{folder, remote}`, see docs/remote.md.
        device: auto, cpu, cuda, `cuda:0,cuda:1`, all or cpu:N; or a mapping `{devices, runner, address}`.
        workers: processes that decode samples.
        judge_again: ask endpoints about everything anew; what they answered before is kept.

    Returns:
        Artifacts `captions.NAME`, `caption_evaluation.NAME` and so on of `original`, `edited` and `random`,
        `caption_differences.NAME` of the last two from the first, and metrics of each. With `captioning.tower: model` of
        `captioner`, the LLaVA as it is, and `tower`, with the run's model in it, in place of `original`; edited and random are edits of
        that model.
    """
    if config.captioning is None:
        raise SpecError("the settings have no captioning; add captioning: {model: FOLDER of a LLaVA}")
    with open_session(config, store, device, workers) as session:
        asked_again = {judge.name for judge in config.captioning.judges} if judge_again else set()
        carry_out([session], lambda: steps_of_captioning(session, asked_again))
        return session.result()


def steps_of_captioning(session: Session, asked_again: set[str] | None = None) -> None:
    """Score, edit and draw the control; caption with all three. Judges in `asked_again` are asked anew, once."""
    require_captionable(session, [session.config.vision])
    edit = selected_edit(session, scores_of(session))
    control = control_edit(session, edit, session.config.seed, OWN_CONTROL)
    caption_models(session, {ORIGINAL: None, "edited": edit, OWN_CONTROL: control}, asked_again)
    report_of_captions(session)
