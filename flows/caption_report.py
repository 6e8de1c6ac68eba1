"""Captions in the report of a run: whatever of them is on its account."""

from collections.abc import Iterable

from data_specs.captioning import AS_IT_IS, PUT_IN
from data_specs.manifest import ArtifactRef
from flows.session import Session
from tasks.evaluation.captions.task import compare_captions
from tasks.reporting.sources import ReportedCaptions
from tasks.reporting.task import write_caption_gallery

_EVALUATION, _DIFFERENCES = "caption_evaluation.", "caption_differences."
_ORIGINAL, _EDITED, _CONTROL = "original", "edited", "random"


def reported_captions(session: Session) -> ReportedCaptions | None:
    """What the run's report shows of captions; None where it has written none.

    Makes the gallery of pictures, and compares the edited model's captions with its control's, kept as
    `caption_differences.edited.over_control`.
    """
    evaluations = _in_order(_kept(session, _EVALUATION))
    if not evaluations:
        return None
    others = [name for name in evaluations if name not in (_ORIGINAL, AS_IT_IS, PUT_IN)]
    edited = next(iter(others), None)
    return ReportedCaptions(
        captions=evaluations,
        differences=_of(session, _DIFFERENCES, [*others, PUT_IN]),
        lead=_lead(session, evaluations, edited),
        gallery=_gallery(session, evaluations),
        evaluations=_measured(session, evaluations),
        # Of the run's model; captions differ from those of the captioner as it is.
        changes={} if PUT_IN in evaluations else _of(session, "differences.", evaluations),
    )


def _measured(session: Session, names: Iterable[str]) -> dict[str, ArtifactRef]:
    """SafeGround's evaluation of whatever each model's captions are seen through."""
    found = {name: _ORIGINAL if name == PUT_IN else name for name in names}
    return {name: session.kept(f"evaluation.{of}") for name, of in found.items() if session.has(f"evaluation.{of}")}


def _kept(session: Session, beginning: str) -> dict[str, ArtifactRef]:
    roles = [role for role in session.result().artifacts if role.startswith(beginning)]
    return {role.removeprefix(beginning): session.kept(role) for role in roles}


def _in_order(found: dict[str, ArtifactRef]) -> dict[str, ArtifactRef]:
    """The original, or the captioner as it is with the model that was put in, the edited one, and the others as they were made."""
    first = [name for name in (_ORIGINAL, AS_IT_IS, PUT_IN, _EDITED) if name in found]
    return {name: found[name] for name in dict.fromkeys([*first, *found])}


def _of(session: Session, beginning: str, names: Iterable[str]) -> dict[str, ArtifactRef]:
    return {name: session.kept(beginning + name) for name in names if session.has(beginning + name)}


def _lead(session: Session, evaluations: dict[str, ArtifactRef], edited: str | None) -> ArtifactRef | None:
    if edited != _EDITED or _CONTROL not in evaluations:
        return None
    made = compare_captions(
        evaluations[_CONTROL], evaluations[_EDITED], session.config.seed, session.store, session.context
    )
    return session.keep(f"{_DIFFERENCES}{_EDITED}.over_control", made)


def _gallery(session: Session, evaluations: dict[str, ArtifactRef]) -> ArtifactRef:
    shards = session.shards(session.config.evaluation.shards)
    made = write_caption_gallery(evaluations, shards, session.config.seed, session.store, session.context)
    return session.keep("gallery.captions", made)
