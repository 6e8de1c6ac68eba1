"""The edit: scores -> selected weights -> edited model."""

from data_specs.fields import Workers
from data_specs.manifest import ArtifactRef
from data_specs.placement import Device
from data_specs.run_result import RunResult
from data_specs.store_place import StoreLocation
from flows.decorator import flow
from flows.measure import selected_edit
from flows.parameters import Config
from flows.remotes.sharing import carry_out
from flows.scores import scores_of
from flows.session import Session, open_session
from tasks.manipulation.task import edit_model


@flow(name="edit", run_name="{config.name}: edit")
def edit(
    config: Config,
    store: StoreLocation = "store",
    device: Device = "auto",
    workers: Workers = None,
    scores: ArtifactRef | None = None,
) -> RunResult:
    """Select weights and write the edit and the edited model.

    Args:
        config: the run's settings, or the path of their file.
        store: folder of the artifact store; or a mapping `{folder, remote}`, see docs/remote.md.
        device: auto, cpu, cuda, `cuda:0,cuda:1`, all or cpu:N; or a mapping `{devices, runner, address}`.
        workers: processes that decode samples.
        scores: the `scores` artifact to use; None calibrates first, or finds it done.

    Returns:
        Artifacts `edit` and `model`.
    """
    with open_session(config, store, device, workers) as session:
        carry_out([session], lambda: steps_of_selection(session, scores))
        return session.result()


def steps_of_selection(session: Session, scores: ArtifactRef | None) -> None:
    """Select weights by scores that are there, or by the run's own: `edit` and `model`."""
    if scores is None:
        scores = scores_of(session)
    session.store.ensure(scores)
    write_model(session, selected_edit(session, scores), "model")


def write_model(session: Session, selected: ArtifactRef, name: str) -> ArtifactRef:
    """The edited model as a checkpoint, kept under a name."""
    with session.timed("edit"):
        return session.keep(name, edit_model(selected, session.original(), session.store, session.context))
