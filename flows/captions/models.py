"""Captions through a vision tower as it is and edited: made, judged, measured and compared, for whichever flow wants them."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from data_specs.captioning import AS_IT_IS, PUT_IN, CaptioningConfig
from data_specs.errors import SpecError
from data_specs.experiment import ORIGINAL
from data_specs.manifest import ArtifactRef
from data_specs.run_config import EncoderConfig
from flows.session import Session
from tasks.captioning.captioner_files import describe_captioner
from tasks.captioning.captions import Captioning, ChangedTower, caption_pictures
from tasks.captioning.other_tower import OtherTower, require_fitting_tower
from tasks.captioning.same_tower import require_same_activation, require_tower
from tasks.captioning.task import judge_captions, score_captions
from tasks.evaluation.captions.task import compare_captions, evaluate_captions
from tasks.manipulation.in_place import EditedFiles
from tasks.manipulation.tower_in_place import StoredTowerEdit
from tasks.shards.plan import plan_reading

OWN_CONTROL = "random"  # what the control of a run's own edit is called


def require_captionable(session: Session, visions: Collection[EncoderConfig | None]) -> None:
    """Refuse settings of captions that lead to none, before hours of calibration; nothing where there are no such settings.

    Args:
        session: the run.
        visions: how each way to edit changes the vision encoder.

    Raises:
        SpecError: none changes it, a judge's key is not there, or the captioner sees through another tower, or through one that
            the model's does not fit where it is to be put in.
    """
    captioning = session.config.captioning
    if captioning is None:
        return
    edited = [vision for vision in visions if vision is not None]
    if not edited:
        raise SpecError(
            "vision is null, and a captioner sees through the vision encoder alone; set vision, or remove captioning"
        )
    original = session.original()
    require_captioner(
        session, {layer for vision in edited for layer in original.target_weights("vision", vision.layers)}
    )


def require_captioner(session: Session, layers: Collection[str]) -> None:
    """Refuse a captioner that does not see through the model, or that no judge follows; nothing where there is none.

    Args:
        session: the run.
        layers: whose weights an edit changes, of the vision encoder; the captioner must hold these bit for bit.

    Raises:
        SpecError: see `require_captionable`.
    """
    captioning = session.config.captioning
    if captioning is None:
        return
    for judge in captioning.judges:
        if judge.kind == "openai_chat":
            judge.key()
    original = session.original()
    with session.timed("check captioner"):
        if captioning.tower == "model":
            require_fitting_tower(captioning, original)
            return
        require_tower(captioning, original.model.state_dict(), layers)
        require_same_activation(captioning, original)


def caption_models(
    session: Session, models: Mapping[str, ArtifactRef | None], asked_again: set[str] | None = None
) -> None:
    """Caption with several models, the captioner loaded once; nothing where the settings have no captioning.

    Kept are `captions.NAME`, `caption_scores.NAME`, `judgements.JUDGE.NAME` and `caption_evaluation.NAME`, and of all but the
    first `caption_differences.NAME` from it; metrics are the session's `NAME`, beside others. With `captioning.tower: model`
    all look through the run's model, and `original`, of which other metrics are the run's model's, has no captions: before all
    others there are `captioner`, that as it is, and `tower`, with the run's model in it and no edit.

    Args:
        session: the run.
        models: by name, the edit on the tower; None for the tower without one.
        asked_again: judges that are asked about everything anew; whoever was is taken out.
    """
    captioning = session.config.captioning
    if captioning is None:
        return
    if captioning.tower == "model" and ORIGINAL in models:
        models = {AS_IT_IS: None, PUT_IN: None, **{name: edit for name, edit in models.items() if name != ORIGINAL}}
    captions = _captions(session, captioning, models)
    evaluations = {}
    for name, ref in captions.items():
        evaluations[name] = _evaluated(session, captioning, name, ref, set() if asked_again is None else asked_again)
    first, *others = evaluations
    for name in others:
        with session.timed("caption_differences"):
            made = compare_captions(
                evaluations[first], evaluations[name], session.config.seed, session.store, session.context
            )
            session.keep(f"caption_differences.{name}", made)


def _captions(
    session: Session, captioning: CaptioningConfig, models: Mapping[str, ArtifactRef | None]
) -> dict[str, ArtifactRef]:
    config = session.config
    shards = session.shards(config.evaluation.shards)
    plans = plan_reading(shards, "vision", captioning.limit or config.evaluation.limit)
    what = Captioning(plans, config.decoder, config.max_bad_fraction)
    with session.timed("check captioner"):
        captioner = describe_captioner(captioning)
    found = {}
    for name, edit in models.items():
        with session.timed(f"captions.{name}"):
            put_in = captioning.tower == "model" and name != AS_IT_IS
            changed = _put_in(session, edit) if put_in else _edited(session, edit)
            made = caption_pictures(captioner, what, changed, session.store, session.context, name)
            found[name] = session.keep(f"captions.{name}", made)
    return found


def _edited(session: Session, edit: ArtifactRef | None) -> ChangedTower | None:
    return None if edit is None else ChangedTower(StoredTowerEdit(session.store.path(edit)), edit)


def _put_in(session: Session, edit: ArtifactRef | None) -> ChangedTower:
    original = session.original()
    found = ChangedTower(OtherTower(original.files), put_in=original.encoder_digest("vision"))
    if edit is None:
        return found
    # The edit is of the model as it was read: only what comes of it is rounded to the captioner's precision.
    with session.edited_in_place(edit) as edited:
        return replace(found, on_tower=OtherTower(edited.files), edit=edit, code=(EditedFiles,))


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
        return session.keep_captions_measured(name, made)
