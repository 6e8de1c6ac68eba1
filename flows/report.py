"""The report of a run: evaluations -> one HTML file."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from data_specs.manifest import ArtifactRef
from data_specs.run_config import ENCODERS
from flows.captions.reported import reported_captions
from flows.measure import difference_of
from flows.scores import labelled
from flows.session import Session
from tasks.evaluation.task import find_flips
from tasks.lineage.base_weights import digest_of_large_file
from tasks.reporting.sources import ModelName, Reported
from tasks.reporting.task import write_flip_gallery, write_gallery, write_report


def report_of(
    session: Session,
    models: Mapping[str, str],
    *,
    method: str | None = None,
    control: str | None = None,
    experiments: Sequence[ArtifactRef] = (),
    others: Sequence[Session] = (),
) -> ArtifactRef:
    """Write the report of models that this run has evaluated, the original first; kept as `report`.

    Args:
        session: the run.
        models: name in the report -> name under which the evaluation was kept.
        method: whose selected weights are shown; None for the run's own.
        control: name under which the evaluation of the second model's control was kept.
        experiments: each adds a section.
        others: runs whose captions stand beside this one's.

    Returns:
        The report's reference. Where there are two models or more it shows what the first two retrieve, and which
        pairs flipped between them.
    """
    scores = labelled("scores", method)
    compared = len(models) > 1
    flips = _flips(session, models, control)
    with session.timed("report"):
        reported = Reported(
            evaluations={model: session.kept(f"evaluation.{kept}") for model, kept in models.items()},
            scores=session.kept(scores) if session.has(scores) else None,
            differences=_differences(session, models),
            experiments=experiments,
            gallery=_gallery(session, models) if compared else None,
            edit=session.kept(labelled("edit", method)) if compared else None,
            overlap=session.kept("overlap") if session.has("overlap") else None,
            lead=lead_of(session, [*models.values()][1], control) if control else None,
            flips=flips,
            flip_gallery=_flip_gallery(session, next(iter(flips.values()))) if compared else None,
            model=_model(session),
            captions=reported_captions(session, others),
        )
        return _written(session, reported)


def report_of_captions(session: Session) -> ArtifactRef:
    """Write the report of captions alone, where SafeGround was not measured; kept as `report`."""
    with session.timed("report"):
        reported = Reported(
            evaluations={},
            scores=session.kept("scores") if session.has("scores") else None,
            edit=session.kept("edit"),
            overlap=session.kept("overlap") if session.has("overlap") else None,
            model=_model(session),
            captions=reported_captions(session),
        )
        return _written(session, reported)


def _written(session: Session, reported: Reported) -> ArtifactRef:
    with session.told_by([*reported.inputs.values()]):
        report = write_report(session.config.name, reported, session.store, session.context)
    return session.keep("report", report)


def lead_of(session: Session, edited: str, control: str) -> ArtifactRef:
    """How an edited model differs from its control on the same pairs, kept as `differences.EDITED.over_control`."""
    first, second = (session.kept(f"evaluation.{name}") for name in (control, edited))
    return difference_of(session, first, second, f"{edited}.over_control")


def _model(session: Session) -> ModelName:
    settings, loaded = session.config.model, session.original()
    source = Path(loaded.source)
    file = None
    if source.is_file():
        state = source.stat()
        file = digest_of_large_file(source, state.st_mtime_ns, state.st_size)
    return ModelName(settings.architecture, settings.weights, loaded.digest, file)


def _differences(session: Session, models: Mapping[str, str]) -> dict[str, ArtifactRef]:
    first, *others = models
    original = session.kept(f"evaluation.{models[first]}")
    return {
        model: difference_of(session, original, session.kept(f"evaluation.{models[model]}"), models[model])
        for model in others
    }


def _flips(session: Session, models: Mapping[str, str], control: str | None) -> dict[str, ArtifactRef]:
    """What changed pair by pair from the original to each other model, and to the second one's control."""
    first, *others = models
    asked = {model: models[model] for model in others}
    if control is not None and control not in asked.values():
        asked["random control"] = control
    found = {}
    with session.timed("flips"):
        for model, kept in asked.items():
            before, after = (session.kept(f"evaluation.{name}") for name in (models[first], kept))
            made = find_flips(before, after, session.config.seed, session.store, session.context)
            found[model] = session.keep(f"flips.{kept}", made)
    return found


def _gallery(session: Session, models: Mapping[str, str]) -> ArtifactRef:
    embeddings = {
        model: {encoder: session.kept(f"embeddings.{encoder}.{kept}") for encoder in ENCODERS}
        for model, kept in islice(models.items(), 2)
    }
    shards = session.shards(session.config.evaluation.shards)
    made = write_gallery(embeddings, shards, session.config.seed, session.store, session.context)
    return session.keep("gallery", made)


def _flip_gallery(session: Session, flips: ArtifactRef) -> ArtifactRef:
    shards = session.shards(session.config.evaluation.shards)
    made = write_flip_gallery(flips, shards, session.config.seed, session.store, session.context)
    return session.keep("gallery.flips", made)
