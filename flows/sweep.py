"""A sweep: one set of scores, an edit for every tau and alpha, each measured."""

from typing import Literal

from pydantic import JsonValue

from data_specs.choosing import ALL, ChooseBy, Counted
from data_specs.errors import SpecError
from data_specs.experiment import ORIGINAL, Experiment
from data_specs.experiment_files import read_experiment
from data_specs.fields import Workers
from data_specs.manifest import ArtifactRef
from data_specs.metrics import ZERO_SHOT
from data_specs.placement import Device
from data_specs.run_config import ENCODERS, Encoder, Rule, RunConfig
from data_specs.run_result import RunResult
from data_specs.spec import Spec
from data_specs.store_place import StoreLocation
from flows.captions.models import caption_models, require_captionable
from flows.decorator import flow
from flows.edit import write_model
from flows.measure import (
    EvaluationSets,
    difference_of,
    embed_together,
    measure_edit,
    measure_original,
    overlap_of,
    selected_edit,
)
from flows.parameters import Config
from flows.remotes.sharing import carry_out
from flows.report import report_of
from flows.scores import scores_of
from flows.session import Session, open_session
from tasks.experiments.choice import parse_limits
from tasks.experiments.grid import GridPoint, Taus, grid_points, method_at, swept_encoders, tau_at
from tasks.experiments.task import MeasuredModel, Plan, chosen_among, write_experiment
from tasks.lineage.progress import counted
from tasks.shards.inspection import Shard
from tasks.tables.experiment_verdict import experiment_verdict


class Choose(Spec):
    """Which point is taken: that of highest GS among those that keep limits such as `zero_shot>=-2,PS>=-1`."""

    limits: str = ""
    by: ChooseBy = "bound"


@flow(name="sweep", run_name="{config.name}: sweep")
def sweep(
    config: Config,
    taus: list[float] | dict[Encoder, list[float]],
    alphas: list[float],
    encoder: Literal["text", "vision", "both"] = "both",
    choose: Choose | str | None = None,
    store: StoreLocation = "store",
    device: Device = "auto",
    workers: Workers = None,
) -> RunResult:
    """Measure every tau with every alpha; activations and scores are made once.

    Args:
        config: the run's settings, or the path of their file; what is not swept stays as it is there.
        taus: shares left unedited, above 0 and below 1; with a list for `text` and one for `vision`,
            every one of the first with every one of the second.
        alphas: factors of the selected weights.
        encoder: whose tau and alpha are swept: text, vision or both.
        choose: limits such as `zero_shot>=-2,PS>=-1`, points against the original: the point of
            highest GS that keeps them is starred, and its model is written. It is chosen on one part
            of the pairs and reported on the other; see `evaluation.choose_on` and `selection`.
        store: folder of the artifact store; or a mapping `{folder, remote}`, see docs/remote.md.
        device: auto, cpu, cuda, `cuda:0,cuda:1`, all or cpu:N; or a mapping `{devices, runner, address}`.
        workers: processes that decode samples; None for one a core, at most 4.

    Returns:
        Artifacts `sweep`, `report`, and `edit` and `model` of the chosen point; with `captioning` also captions of the
        original and the chosen one.
    """
    asked = Choose(limits=choose) if isinstance(choose, str) else choose
    with open_session(config, store, device, workers) as session:
        carry_out([session], lambda: steps_of_sweep(session, taus, alphas, encoder, asked))
        return session.result()


def steps_of_sweep(session: Session, taus: Taus, alphas: list[float], encoder: str, choose: Choose | None) -> None:
    """Measure all points, write the model of the one that is chosen, caption with it, and report."""
    config, points = session.config, grid_points(taus, alphas)
    encoders = swept_encoders(encoder, config, taus)
    _require_measurable(choose.limits if choose else "", config)
    for point in points:
        method_at(config, encoders, point)
    require_captionable(session, [config.vision])
    made = sweep_of(session, points, encoders, choose)
    models = {ORIGINAL: ORIGINAL}
    if session.has("evaluation.chosen"):
        edit = session.keep_as("edit", "edit.chosen")
        write_model(session, edit, "model")
        caption_models(session, {ORIGINAL: None, "chosen": edit})
        models["chosen"] = "chosen"
    report_of(session, models, experiments=[made])


def sweep_of(
    session: Session,
    points: list[GridPoint],
    encoders: list[Encoder],
    choose: Choose | None,
    reported_as: tuple[str, str] = (ORIGINAL, "chosen"),
) -> ArtifactRef:
    """The `sweep` artifact; edits and evaluations are kept under the points' names.

    Args:
        session: the run.
        points: of the grid.
        encoders: whose settings they change.
        choose: which one is taken; None takes none.
        reported_as: names of the original and of the chosen point where they are measured on pairs that did not choose.
    """
    config, data = session.config, _Data(session, choose)
    scores = scores_of(session, asked=_asked(config, points, encoders))
    overlap_of(session, [config])
    plan = Plan(
        kind="sweep",
        name=config.name,
        encoders=encoders,
        limits=choose.limits if choose else None,
        choose_by=choose.by if choose else "bound",
        choose_on=data.share,
        own_shards=data.own_shards,
    )
    edits = {
        point_name(point): selected_edit(
            session, scores, config.with_method(method_at(config, encoders, point)), point_name(point)
        )
        for point in counted("select weights", points, "points")
    }
    embed_together(session, data.choosing, [*edits.values()])
    original = measure_original(session, data.choosing, f"{ORIGINAL}.choosing" if data.apart else reported_as[0])
    models = [MeasuredModel(ORIGINAL, ORIGINAL, original)]
    for point in counted("sweep", points, "points"):
        name = point_name(point)
        edit = edits[name]
        evaluation = measure_edit(session, data.choosing, edit, name)
        differences = difference_of(session, original, evaluation, name) if plan.asks_bounds else None
        models.append(MeasuredModel(name, "method", evaluation, edit, differences, axes=dict(point)))
    reported = _report_chosen(session, data, plan, models, reported_as)
    with session.timed("sweep"):
        made = session.keep("sweep", write_experiment(plan, models, session.store, session.context, reported=reported))
        if choose is not None and session.store.holds(made):
            session.told["choice"] = _told(read_experiment(session.store.path(made), "sweep"))
        return made


def _told(sweep: Experiment) -> dict[str, JsonValue]:
    """How a point was chosen and what the run's figures are of, for its record."""
    return {
        "points": len(sweep.points),
        "limits": [*sweep.limits],
        "chosen": None if sweep.chosen is None else dict(sweep.points[sweep.chosen].axes),
        "chosen_on_pairs": sweep.n_pairs,
        **(sweep.choice.model_dump(mode="json", exclude={"reported", "chance"}) if sweep.choice else {}),
        "verdict": [*experiment_verdict(sweep)],
    }


class _Data:
    """On what a sweep chooses, and on what it reports."""

    def __init__(self, session: Session, choose: Choose | None) -> None:
        evaluation, selection = session.config.evaluation, session.config.selection
        self.apart = choose is not None and (selection is not None or evaluation.choose_on is not None)
        self.own_shards = self.apart and selection is not None
        share = evaluation.choose_on if self.apart else None
        self.share = None if self.own_shards else share
        first, second = ((0.0, share), (share, 1.0)) if share is not None else (ALL, ALL)
        pairs = (ALL, ALL) if self.own_shards else (first, second)
        self.choosing = EvaluationSets(
            session, Counted(pairs=pairs[0], images=first), selection if self.own_shards else evaluation
        )
        self.reporting = EvaluationSets(session, Counted(pairs=pairs[1], images=second), evaluation)
        if self.own_shards:
            _require_others(self.choosing.pairs, self.reporting.pairs)


def _require_others(choosing: list[Shard], reporting: list[Shard]) -> None:
    digests = {shard.sha256: shard.location for shard in reporting}
    for shard in choosing:
        if shard.sha256 in digests:
            raise SpecError(
                f"selection.shards holds {shard.location}, which is {digests[shard.sha256]} of evaluation.shards: the chosen point"
                " would be reported on pairs that chose it; give other shards, or remove selection and set evaluation.choose_on"
            )


def _asked(
    config: RunConfig, points: list[GridPoint], encoders: list[Encoder]
) -> dict[Encoder, list[tuple[Rule, float]]]:
    """Rules and taus to tabulate, by encoder."""
    return {
        name: [(chosen.rule, tau) for tau in dict.fromkeys(tau_at(point, name) for point in points)]
        if name in encoders
        else [(chosen.rule, chosen.tau)]
        for name, chosen in config.edited.items()
    }


def _report_chosen(
    session: Session, data: _Data, plan: Plan, models: list[MeasuredModel], names: tuple[str, str]
) -> ArtifactRef | None:
    """Measure the chosen point beside the original on pairs that did not choose; their differences, if that is another set."""
    if plan.limits is None:
        return None
    if data.apart:
        original = measure_original(session, data.reporting, names[0])
    # A plan of a sweep that is not made yet knows no chosen point.
    if not all(session.store.holds(ref) for item in models for ref in item.artifacts.values()):
        return None
    position = chosen_among(plan, models, session.store)
    if position is None:
        return None
    chosen = models[position + 1]
    edit = session.keep_as(f"edit.{names[1]}", f"edit.{chosen.name}")
    if not data.apart:
        session.keep_as(f"evaluation.{names[1]}", f"evaluation.{chosen.name}")
        for encoder in ENCODERS:
            session.keep_as(f"embeddings.{encoder}.{names[1]}", f"embeddings.{encoder}.{chosen.name}")
        session.metrics[names[1]] = session.metrics[chosen.name]
        return None
    evaluation = measure_edit(session, data.reporting, edit, names[1])
    return difference_of(session, original, evaluation, names[1])


def _require_measurable(choose: str, config: RunConfig) -> None:
    """Refuse a limit on what the run does not measure before hours go into its points."""
    for limit in parse_limits(choose):
        if limit.metric == ZERO_SHOT and not config.evaluation.zero_shot:
            raise SpecError(
                f"limit {limit}: {ZERO_SHOT} is not measured; add evaluation.zero_shot data sets or leave this limit out"
            )


def point_name(point: GridPoint) -> str:
    """A point's name in the account; all digits, so that no two points share one."""
    return ",".join(f"{name}={repr(value).removesuffix('.0')}" for name, value in point.items())
