"""Captions in the report of a run, or of several side by side: whatever of them is on their accounts."""

from collections.abc import Iterable, Iterator, Sequence

from data_specs.captioning import AS_IT_IS, PUT_IN
from data_specs.manifest import ArtifactRef
from flows.captions.shown import behind_run
from flows.session import Session
from tasks.evaluation.captions.task import compare_captions
from tasks.lineage.progress import notice
from tasks.reporting.sources import ReportedCaptions
from tasks.reporting.task import write_caption_gallery

_EVALUATION, _DIFFERENCES = "caption_evaluation.", "caption_differences."
_ORIGINAL, _EDITED, _CONTROL = "original", "edited", "random"


def reported_captions(session: Session, others: Sequence[Session] = ()) -> ReportedCaptions | None:
    """What the run's report shows of captions; None where it has written none.

    Makes the gallery of pictures, and compares the edited model's captions with its control's, kept as
    `caption_differences.edited.over_control`.

    Args:
        session: the run.
        others: runs whose captions stand beside its own, behind the run's name, where both caption the same pictures by the same
            captioner as it is; their own rows of that are left out.
    """
    with_captions = [each for each in (session, *others) if _evaluations(each)]
    if not with_captions:
        return None
    told = [_of_run(each, "" if each is with_captions[0] else each.config.name) for each in _joined(with_captions)]
    evaluations = {name: ref for each in told for name, ref in each.captions.items()}
    return ReportedCaptions(
        captions=evaluations,
        differences={name: ref for each in told for name, ref in each.differences.items()},
        lead=told[0].lead,
        gallery=_gallery(session, evaluations),
        evaluations={name: ref for each in told for name, ref in each.evaluations.items()},
        changes={name: ref for each in told for name, ref in each.changes.items()},
    )


def _joined(sessions: Sequence[Session]) -> Iterator[Session]:
    """The first run, and those whose captions differ from the same ones as its own."""
    first, *others = sessions
    yield first
    for other in others:
        if _base(other) == _base(first):
            yield other
        else:
            notice(
                f"captions of {other.config.name} are not beside those of {first.config.name} in the report: captioner, question,"
                " pictures or judges of captioning are others"
            )


def _base(session: Session) -> ArtifactRef:
    return next(iter(_evaluations(session).values()))


def _of_run(session: Session, run: str) -> ReportedCaptions:
    """The rows of one run; behind another one's name, without the captioner as it is."""
    evaluations = _evaluations(session)
    own = [*evaluations][1:] if run else [*evaluations]
    others = [name for name in own if name not in (_ORIGINAL, AS_IT_IS, PUT_IN)]

    def told(found: dict[str, ArtifactRef]) -> dict[str, ArtifactRef]:
        return {behind_run(run, name): ref for name, ref in found.items()}

    return ReportedCaptions(
        captions=told({name: evaluations[name] for name in own}),
        differences=told(_of(session, _DIFFERENCES, [*others, PUT_IN])),
        lead=None if run else _lead(session, evaluations, next(iter(others), None)),
        evaluations=told(_measured(session, own)),
        # Of the run's model; captions differ from those of the captioner as it is.
        changes={} if PUT_IN in evaluations else told(_of(session, "differences.", own)),
    )


def _measured(session: Session, names: Iterable[str]) -> dict[str, ArtifactRef]:
    """SafeGround's evaluation of whatever each model's captions are seen through."""
    found = {name: _ORIGINAL if name == PUT_IN else name for name in names}
    return {name: session.kept(f"evaluation.{of}") for name, of in found.items() if session.has(f"evaluation.{of}")}


def _evaluations(session: Session) -> dict[str, ArtifactRef]:
    """The original, or the captioner as it is with the model that was put in, the edited one, and the others as they were made."""
    roles = [role for role in session.result().artifacts if role.startswith(_EVALUATION)]
    found = {role.removeprefix(_EVALUATION): session.kept(role) for role in roles}
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
