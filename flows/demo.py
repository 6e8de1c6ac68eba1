"""The demo: draw, train, make safe, and compare with a random control."""

from prefect import flow

from data_specs.manifest import ArtifactRef
from data_specs.run_result import RunResult
from flows.edit import control_of
from flows.evaluate import evaluate
from flows.make_safe import make_safe
from flows.report import report_of
from flows.session import open_session
from tasks.demo.task import SEED, demo_config, draw_data, train_model
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store

CONTROL = "random_control"


@flow(name="demo")
def demo(store: str = "store", workers: int | None = None) -> RunResult:
    """Show the whole pipeline on drawn pictures and a tiny model, on the CPU.

    Args:
        store: folder of the artifact store.
        workers: processes that decode samples; None for one a core, at most 4.

    Returns:
        All artifacts, and metrics `original`, `edited` and `random_control`, each with `zero_shot`.
    """
    device = "cpu"
    context = RunContext(device=device, seed=SEED)
    data, model = draw_data(Store(store), context), train_model(Store(store), context)
    config = demo_config(data.path, model.path)
    with open_session(config, store, device, workers) as session:
        session.keep("demo_data", data)
        session.keep("demo_model", model)
        made = make_safe(config, store, device, workers)
        selected = ArtifactRef(kind="edit", version=made.artifacts["edit"].version)
        control = control_of(session, selected, seed=config.seed, name=CONTROL)
        evaluate(config, store, device, workers, model=control, name=CONTROL)
        report_of(session)
        return session.result()
