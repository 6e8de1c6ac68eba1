"""The demo: draw, train, make safe, and set beside controls, other scorers and a sweep."""

from data_specs.run_result import RunResult
from flows.compare import compare_methods
from flows.decorator import flow
from flows.make_safe import steps_of_edit
from flows.measure import EvaluationSets, control_edit, measure_edit
from flows.report import report_of
from flows.session import Session, open_session
from flows.sweep import Choose, sweep_of
from tasks.demo.task import SEED, SWEEP_ENCODER, SWEEP_LIMITS, SWEEP_POINTS, demo_config, draw_data, train_model
from tasks.experiments.task import Plan, write_experiment
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store

MODELS = ("original", "edited", "random_control")


@flow(name="demo", run_name="demo")
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
        steps_of_demo(session)
        result = session.result()
        return result.model_copy(update={"metrics": {name: result.metrics[name] for name in MODELS}})


def steps_of_demo(session: Session) -> None:
    """Edit and measure, set beside a control, other ways to edit and a sweep, and report."""
    steps_of_edit(session)
    control = MODELS[-1]
    drawn = control_edit(session, session.kept("edit"), session.config.seed, control)
    measure_edit(session, EvaluationSets(session), drawn, control)
    models, _ = compare_methods(session, "first")
    with session.timed("comparison"):
        plan = Plan(kind="comparison", name=session.config.name)
        comparison = session.keep("comparison", write_experiment(plan, models, session.store, session.context))
    choose = Choose(limits=SWEEP_LIMITS)
    sweep = sweep_of(session, SWEEP_POINTS, [SWEEP_ENCODER], choose, ("sweep.original", "sweep.chosen"))
    report_of(session, {name: name for name in MODELS}, control=control, experiments=[comparison, sweep])
