"""A sweep: one set of scores, an edit for every tau and alpha, each measured."""

from typing import Literal

from data_specs.errors import SpecError
from data_specs.experiment import ORIGINAL
from data_specs.experiment_files import read_experiment
from data_specs.fields import Workers
from data_specs.manifest import ArtifactRef
from data_specs.metrics import ZERO_SHOT
from data_specs.run_config import RunConfig
from data_specs.run_result import RunResult
from flows.decorator import flow
from flows.edit import write_model
from flows.measure import EvaluationSets, measure_edit, measure_original, overlap_of, selected_edit
from flows.parameters import Config
from flows.report import report_of
from flows.scores import scores_of
from flows.session import Session, open_session
from tasks.experiments.choice import parse_limits
from tasks.experiments.grid import grid_points, method_at, swept_encoders
from tasks.experiments.task import MeasuredModel, Plan, write_experiment
from tasks.lineage.progress import counted


@flow(name="sweep")
def sweep(
    config: Config,
    taus: list[float],
    alphas: list[float],
    encoder: Literal["text", "vision", "both"] = "both",
    choose: str | None = None,
    store: str = "store",
    device: str = "auto",
    workers: Workers = None,
) -> RunResult:
    """Measure every tau with every alpha; activations and scores are made once.

    Args:
        config: the run's settings, or the path of their file; what is not swept stays as it is there.
        taus: shares left unedited, above 0 and below 1.
        alphas: factors of the selected weights.
        encoder: whose tau and alpha are swept: text, vision or both.
        choose: limits such as `zero_shot>=-2,PS>=-1`, points against the original: the point of
            highest GS that keeps them is starred, and its model is written.
        store: folder of the artifact store.
        device: auto, cpu, cuda or cuda:N.
        workers: processes that decode samples; None for one a core, at most 4.

    Returns:
        Artifacts `sweep`, `report`, and `edit` and `model` of the chosen point.
    """
    with open_session(config, store, device, workers) as session:
        steps_of_sweep(session, taus, alphas, encoder, choose)
        return session.result()


def steps_of_sweep(session: Session, taus: list[float], alphas: list[float], encoder: str, choose: str | None) -> None:
    """Measure all points, write the model of the one that is chosen, and report."""
    config, points = session.config, grid_points(taus, alphas)
    _require_measurable(choose or "", config)
    for tau, alpha in points:
        method_at(config, swept_encoders(encoder, config), tau, alpha)
    made = sweep_of(session, points, encoder, choose)
    models = {"original": "original"}
    # A plan of a sweep that is not made yet knows no chosen point.
    chosen = read_experiment(session.store.path(made), "sweep").chosen if session.store.holds(made) else None
    if chosen is not None:
        point = point_name(*points[chosen])
        write_model(session, session.keep_as("edit", f"edit.{point}"), "model")
        session.keep_as("evaluation.chosen", f"evaluation.{point}")
        session.metrics["chosen"] = session.metrics[point]
        models["chosen"] = point
    report_of(session, models, experiments=[made])


def sweep_of(session: Session, points: list[tuple[float, float]], encoder: str, choose: str | None) -> ArtifactRef:
    """The `sweep` artifact over points (tau, alpha); edits and evaluations are kept under the points' names."""
    config = session.config
    sets = EvaluationSets(session)
    encoders = swept_encoders(encoder, config)
    asked = {
        name: [(chosen.rule, tau) for tau in dict.fromkeys(tau for tau, _ in points)]
        if name in encoders
        else [(chosen.rule, chosen.tau)]
        for name, chosen in config.edited.items()
    }
    scores = scores_of(session, asked=asked)
    overlap_of(session, [config])
    models = [MeasuredModel(ORIGINAL, ORIGINAL, measure_original(session, sets))]
    for tau, alpha in counted("sweep", points, "points"):
        name = point_name(tau, alpha)
        edit = selected_edit(session, scores, config.with_method(method_at(config, encoders, tau, alpha)), name)
        evaluation = measure_edit(session, sets, edit, name)
        models.append(MeasuredModel(name, "method", evaluation, edit, axes={"tau": tau, "alpha": alpha}))
    with session.timed("sweep"):
        plan = Plan(kind="sweep", name=config.name, encoders=encoders, limits=choose)
        return session.keep("sweep", write_experiment(plan, models, session.store, session.context))


def _require_measurable(choose: str, config: RunConfig) -> None:
    """Refuse a limit on what the run does not measure before hours go into its points."""
    for limit in parse_limits(choose):
        if limit.metric == ZERO_SHOT and not config.evaluation.zero_shot:
            raise SpecError(
                f"limit {limit}: {ZERO_SHOT} is not measured; add evaluation.zero_shot data sets or leave this limit out"
            )


def point_name(tau: float, alpha: float) -> str:
    """A point's name in the account; all digits, so that no two points share one."""
    values = {"tau": tau, "alpha": alpha}
    return ",".join(f"{name}={repr(value).removesuffix('.0')}" for name, value in values.items())
