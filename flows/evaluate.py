"""Evaluation: model -> embeddings -> SafeGround, retrieval, zero-shot."""

from data_specs.fields import Workers
from data_specs.manifest import ArtifactRef
from data_specs.placement import Device
from data_specs.run_result import RunResult
from data_specs.store_place import StoreLocation
from flows.decorator import flow
from flows.measure import EvaluationSets, edit_of, measure_edit, measure_original
from flows.parameters import Config
from flows.remotes.sharing import carry_out
from flows.session import Session, open_session


@flow(name="evaluate", run_name="{config.name}: evaluate")
def evaluate(
    config: Config,
    store: StoreLocation = "store",
    device: Device = "auto",
    workers: Workers = None,
    model: ArtifactRef | None = None,
    name: str | None = None,
) -> RunResult:
    """Measure the original model or an edited one.

    Args:
        config: the run's settings, or the path of their file.
        store: folder of the artifact store; or a mapping `{folder, remote}`, see docs/remote.md.
        device: auto, cpu, cuda, `cuda:0,cuda:1`, all or cpu:N; or a mapping `{devices, runner, address}`.
        workers: processes that decode samples.
        model: a `model` artifact; None measures the original model.
        name: under which the metrics appear; None for `original` or `edited`.

    Returns:
        Artifact `evaluation.NAME` and metrics `NAME`.
    """
    with open_session(config, store, device, workers) as session:
        carry_out([session], lambda: steps_of_evaluation(session, model, name))
        return session.result()


def steps_of_evaluation(session: Session, model: ArtifactRef | None, name: str | None) -> None:
    """Measure the original, or the edited model of a `model` artifact."""
    # Everything that the evaluation needs is checked before the first forward pass.
    sets = EvaluationSets(session)
    if model is None:
        measure_original(session, sets, name or "original")
    else:
        measure_edit(session, sets, edit_of(session, model), name or "edited")
