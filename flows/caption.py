"""Captions of a LLaVA before and after the edit of its vision tower, and of a random control, judged and measured."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from data_specs.captioning import CaptioningConfig
from data_specs.errors import SpecError
from data_specs.fields import Workers
from data_specs.manifest import ArtifactRef
from data_specs.placement import Device
from data_specs.run_result import RunResult
from data_specs.store_place import StoreLocation
from flows.decorator import flow
from flows.measure import control_edit, selected_edit
from flows.parameters import Config
from flows.remotes.sharing import carry_out
from flows.scores import scores_of
from flows.session import Session, open_session
from tasks.captioning.captioner import Captioner, load_captioner
from tasks.captioning.captions import Captioning, caption_pictures
from tasks.captioning.task import judge_captions, score_captions
from tasks.evaluation.captions.task import compare_captions, evaluate_captions
from tasks.lineage.progress import stage
from tasks.manipulation.stored_edit import stored_edit
from tasks.manipulation.tower_in_place import tower_edited_in_place
from tasks.shards.plan import plan_reading

_ORIGINAL, _EDITED, _CONTROL = "original", "edited", "random"


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
        Artifacts `captions.NAME`, `caption_evaluation.NAME` and so on of `original`, `edited` and `random`, and
        `caption_differences.NAME` of the last two from the first.
    """
    captioning = _required(config.captioning, edits_vision=config.vision is not None)
    with open_session(config, store, device, workers) as session:
        asked_again = {judge.name for judge in captioning.judges} if judge_again else set()
        carry_out([session], lambda: _steps(session, captioning, asked_again))
        return session.result()


def _required(captioning: CaptioningConfig | None, *, edits_vision: bool) -> CaptioningConfig:
    if captioning is None:
        raise SpecError("the settings have no captioning; add captioning: {model: FOLDER of a LLaVA}")
    if not edits_vision:
        raise SpecError(
            "vision is null, and a captioner sees through the vision encoder alone; set vision, or remove it"
        )
    for judge in captioning.judges:
        if judge.kind == "openai_chat":
            judge.key()  # before hours of captioning
    return captioning


def _steps(session: Session, captioning: CaptioningConfig, asked_again: set[str]) -> None:
    edit = selected_edit(session, scores_of(session))
    edits = {_ORIGINAL: None, _EDITED: edit, _CONTROL: control_edit(session, edit, session.config.seed, _CONTROL)}
    captions = _captions(session, captioning, edits)
    evaluations = {name: _evaluated(session, captioning, name, ref, asked_again) for name, ref in captions.items()}
    for name in (_EDITED, _CONTROL):
        made = compare_captions(
            evaluations[_ORIGINAL], evaluations[name], session.config.seed, session.store, session.context
        )
        session.keep(f"caption_differences.{name}", made)


def _captions(
    session: Session, captioning: CaptioningConfig, edits: Mapping[str, ArtifactRef | None]
) -> dict[str, ArtifactRef]:
    """What the captioner says with each edit on its tower; it is loaded once."""
    config = session.config
    plans = plan_reading(
        session.shards(config.evaluation.shards), "vision", captioning.limit or config.evaluation.limit
    )
    what = Captioning(plans, captioning, config.decoder, config.max_bad_fraction)
    with session.timed("load"), stage("load captioner", None, "tensors"):
        captioner = load_captioner(captioning, torch.device(session.context.device))
    found = {}
    for name, edit in edits.items():
        with session.timed(f"captions.{name}"), _edited(session, captioner, edit):
            made = caption_pictures(captioner, what, edit, session.store, session.context, name)
            found[name] = session.keep(f"captions.{name}", made)
    return found


def _edited(session: Session, captioner: Captioner, edit: ArtifactRef | None) -> AbstractContextManager[None]:
    return nullcontext() if edit is None else tower_edited_in_place(captioner.tower, stored_edit(session.store, edit))


def _evaluated(
    session: Session, captioning: CaptioningConfig, name: str, captions: ArtifactRef, asked_again: set[str]
) -> ArtifactRef:
    store = session.store
    with session.timed(f"caption_evaluation.{name}"):
        scores = score_captions(captions, captioning.text_metrics.wordnet, store, session.context)
        session.keep(f"caption_scores.{name}", scores)
        judged = {}
        for judge in captioning.judges:
            again = judge.name in asked_again
            asked_again.discard(judge.name)  # of the next model's captions the new answers count
            made = judge_captions(captions, judge, store, session.context, again=again)
            judged[judge.name] = session.keep(f"judgements.{judge.name}.{name}", made)
        made = evaluate_captions(captions, scores.ref, judged, session.config.seed, store, session.context)
        return session.keep(f"caption_evaluation.{name}", made)
