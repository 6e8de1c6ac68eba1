"""The edit: scores -> selected weights -> edited model."""

from prefect import flow

from data_specs.manifest import ArtifactRef
from data_specs.run_config import RunConfig
from data_specs.run_result import RunResult
from flows.calibrate import calibrate
from flows.session import Session, open_session
from tasks.manipulation.task import draw_control, edit_model, select_weights


@flow(name="edit")
def edit(
    config: RunConfig,
    store: str = "store",
    device: str = "auto",
    workers: int | None = None,
    scores: ArtifactRef | None = None,
) -> RunResult:
    """Select weights and write the edit and the edited model.

    Args:
        config: the run's settings.
        store: folder of the artifact store.
        device: auto, cpu, cuda or cuda:N.
        workers: processes that decode samples.
        scores: the `scores` artifact to use; None calibrates first, or finds it done.

    Returns:
        Artifacts `edit` and `model`.
    """
    with open_session(config, store, device, workers) as session:
        if scores is None:
            calibrated = calibrate(config, store, device, workers)
            scores = ArtifactRef(kind="scores", version=calibrated.artifacts["scores"].version)
        session.store.check(scores)
        with session.timed("edit"):
            made = select_weights(scores, session.original(), config, session.store, session.context)
            selected = session.keep("edit", made)
            session.keep("model", edit_model(selected, session.original(), session.store, session.context))
        return session.result()


def control_of(session: Session, selected: ArtifactRef, *, seed: int, name: str) -> ArtifactRef:
    """The model with as many randomly drawn weights edited, kept as `edit.NAME` and `model.NAME`."""
    with session.timed("edit"):
        loaded = session.original()
        drawn = session.keep(f"edit.{name}", draw_control(selected, seed, loaded, session.store, session.context))
        return session.keep(f"model.{name}", edit_model(drawn, loaded, session.store, session.context))
