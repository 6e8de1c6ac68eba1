"""An ablation: the method's settings crossed, what they share made once."""

from typing import Any

from data_specs.ablation import AblationPoint
from data_specs.errors import NotSelectable
from data_specs.experiment import ORIGINAL, LeftOut
from data_specs.fields import Workers
from data_specs.manifest import ArtifactRef
from data_specs.placement import Device
from data_specs.run_result import RunResult
from data_specs.store_place import StoreLocation
from flows.decorator import flow
from flows.measure import EvaluationSets, embed_together, measure_edit, measure_original, overlap_of, selected_edit
from flows.parameters import Config
from flows.remotes.sharing import carry_out
from flows.report import report_of
from flows.scores import require_inputs, scores_of
from flows.session import Session, open_session
from tasks.experiments.ablation_points import AblationPlan, ablation_points, with_largest_limit
from tasks.experiments.task import MeasuredModel, Plan, write_experiment
from tasks.lineage.progress import counted, notice


@flow(name="ablate", run_name="{config.name}: ablate")
def ablate(
    config: Config,
    axes: dict[str, list[Any]],
    store: StoreLocation = "store",
    device: Device = "auto",
    workers: Workers = None,
) -> RunResult:
    """Measure every combination of some settings.

    Args:
        config: the run's settings, or the path of their file; what is no axis stays as it is there.
        axes: values of `scorer, aggregation, rule, weight_by_magnitude, layers, limit, seed, sign`.
        store: folder of the artifact store; or a mapping `{folder, remote}`, see docs/remote.md.
        device: auto, cpu, cuda, `cuda:0,cuda:1`, all or cpu:N; or a mapping `{devices, runner, address}`.
        workers: processes that decode samples; None for one a core, at most 4.

    Returns:
        Artifacts `ablation` and `report`, and everything that they are made of.
    """
    plan = ablation_points(config, axes)
    with open_session(with_largest_limit(plan, config), store, device, workers) as session:
        carry_out([session], lambda: steps_of_ablate(session, plan))
        return session.result()


def steps_of_ablate(session: Session, plan: AblationPlan) -> None:
    """Measure all points, set them side by side, and report."""
    measured, left_out = _measure_points(session, plan)
    with session.timed("ablation"):
        asked = Plan(kind="ablation", name=session.config.name, left_out=left_out)
        made = session.keep("ablation", write_experiment(asked, measured, session.store, session.context))
    report_of(session, {ORIGINAL: ORIGINAL}, experiments=[made])


def _measure_points(session: Session, plan: AblationPlan) -> tuple[list[MeasuredModel], list[LeftOut]]:
    sets = EvaluationSets(session)
    for point in plan.points:
        require_inputs(session, point.method)
    overlap_of(session, [point.method for point in plan.points])
    edits, left_out = _edits(session, plan)
    embed_together(session, sets, [edit for _, edit in edits])
    original = measure_original(session, sets)
    measured = [MeasuredModel(ORIGINAL, ORIGINAL, original)]
    for point, edit in counted("ablation", edits, "points"):
        evaluation = measure_edit(session, sets, edit, point.label)
        measured.append(
            MeasuredModel(point.label, "method", evaluation, edit, settings=point.settings, axes=dict(point.axes))
        )
    return measured, left_out


def _edits(session: Session, plan: AblationPlan) -> tuple[list[tuple[AblationPoint, ArtifactRef]], list[LeftOut]]:
    """The edit of each point, and the points whose settings select nothing."""
    edits, left_out = [], list(plan.left_out)
    for point in counted("select weights", plan.points, "points"):
        run = point.run_config(session.config)
        try:
            edits.append((point, selected_edit(session, scores_of(session, run, name=point.label), run, point.label)))
        except NotSelectable as error:
            notice(f"left out: {point.label}: {error}")
            left_out.append(LeftOut(label=point.label, axes=point.axes, reason=str(error)))
    return edits, left_out
