"""The report of a run: evaluations -> one HTML file."""

from collections.abc import Mapping, Sequence
from itertools import islice

from data_specs.manifest import ArtifactRef
from data_specs.run_config import ENCODERS
from flows.measure import difference_of
from flows.scores import labelled
from flows.session import Session
from tasks.reporting.task import Reported, write_gallery, write_report


def report_of(
    session: Session,
    models: Mapping[str, str],
    *,
    method: str | None = None,
    control: str | None = None,
    experiments: Sequence[ArtifactRef] = (),
) -> ArtifactRef:
    """Write the report of models that this run has evaluated, the original first; kept as `report`.

    Args:
        session: the run.
        models: name in the report -> name under which the evaluation was kept.
        method: whose selected weights are shown; None for the run's own.
        control: name under which the evaluation of the second model's control was kept.
        experiments: each adds a section.

    Returns:
        The report's reference. Where there are two models or more it shows what the first two retrieve.
    """
    with session.timed("report"):
        report = write_report(
            session.config.name,
            Reported(
                evaluations={model: session.kept(f"evaluation.{kept}") for model, kept in models.items()},
                scores=session.kept(labelled("scores", method)),
                differences=_differences(session, models),
                experiments=experiments,
                gallery=_gallery(session, models) if len(models) > 1 else None,
                edit=session.kept(labelled("edit", method)) if len(models) > 1 else None,
                overlap=session.kept("overlap") if session.has("overlap") else None,
                lead=lead_of(session, [*models.values()][1], control) if control else None,
            ),
            session.store,
            session.context,
        )
        return session.keep("report", report)


def lead_of(session: Session, edited: str, control: str) -> ArtifactRef:
    """How an edited model differs from its control on the same pairs, kept as `differences.EDITED.over_control`."""
    first, second = (session.kept(f"evaluation.{name}") for name in (control, edited))
    return difference_of(session, first, second, f"{edited}.over_control")


def _differences(session: Session, models: Mapping[str, str]) -> dict[str, ArtifactRef]:
    first, *others = models
    original = session.kept(f"evaluation.{models[first]}")
    return {
        model: difference_of(session, original, session.kept(f"evaluation.{models[model]}"), models[model])
        for model in others
    }


def _gallery(session: Session, models: Mapping[str, str]) -> ArtifactRef:
    embeddings = {
        model: {encoder: session.kept(f"embeddings.{encoder}.{kept}") for encoder in ENCODERS}
        for model, kept in islice(models.items(), 2)
    }
    shards = session.shards(session.config.evaluation.shards)
    made = write_gallery(embeddings, shards, session.config.seed, session.store, session.context)
    return session.keep("gallery", made)
