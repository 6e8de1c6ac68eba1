"""A comparison: several ways to edit, their controls and the paper's own figures on the same pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data_specs.errors import DataError, NotSelectable, SpecError
from data_specs.evaluation_files import read_by_tag, read_metrics
from data_specs.experiment import ORIGINAL, Row
from data_specs.fields import Workers
from data_specs.manifest import ArtifactRef
from data_specs.paper import paper_row
from data_specs.run_config import MethodConfig, RunConfig
from data_specs.run_result import RunResult
from flows.decorator import flow
from flows.measure import (
    EvaluationSets,
    control_edit,
    difference_of,
    measure_edit,
    measure_original,
    overlap_of,
    selected_edit,
    sign_control_edit,
)
from flows.parameters import Config
from flows.record import together
from flows.report import lead_of, report_of
from flows.scores import require_inputs, scores_of
from flows.session import Session, open_sessions
from tasks.experiments.task import MeasuredModel, Plan, write_experiment
from tasks.lineage.progress import advance, stage

Controls = Literal["each", "first", "none"]


@dataclass(frozen=True)
class Filtered:
    """A method with a sign filter: its name in the account and in the table, its settings, scores and edit."""

    name: str
    shown: str
    run: RunConfig
    scores: ArtifactRef
    edit: ArtifactRef


CONTROL = ".random_control"
_STAGE = "comparison"
SIGN_CONTROL, OPPOSITE = ".random_sign", ".opposite_sign"


@flow(name="compare")
def compare(
    configs: list[Config],
    controls: Controls = "each",
    store: str = "store",
    device: str = "auto",
    workers: Workers = None,
) -> RunResult:
    """Measure the methods of one or several runs and set them side by side.

    Args:
        configs: settings of runs on the same evaluation pairs; of each, its `methods`, or where there
            are none its own way to edit.
        controls: with each method, with the first of each run, or with none, a control that edits as
            many weights of the same layers, drawn at random. A method with a sign filter has its own two
            whatever is asked: as many weights drawn from those that the filter leaves, and its opposite.
        store: folder of the artifact store.
        device: auto, cpu, cuda or cuda:N.
        workers: processes that decode samples; None for one a core, at most 4.

    Returns:
        Artifacts `comparison` and `report`, and everything that they are made of.
    """
    with open_sessions(configs, store, device, workers) as sessions:
        steps_of_compare(sessions, controls)
        return together([session.result() for session in sessions])


def steps_of_compare(sessions: Sequence[Session], controls: Controls) -> None:
    """Measure the methods of several runs, set them side by side, and report on the first."""
    _require_own_names([session.config for session in sessions])
    for session in sessions:
        for way in _methods(session.config).values():
            require_inputs(session, way)
    _require_same_pairs(sessions)
    models: list[MeasuredModel] = []
    paper: list[Row] = []
    with stage(_STAGE, sum(_n_edited(session.config, controls) for session in sessions), "models"):
        for session in sessions:
            prefix = f"{session.config.name} " if len(sessions) > 1 else ""
            found, rows = compare_methods(session, controls, prefix=prefix)
            known = [item.evaluation for item in models if item.role == ORIGINAL]
            models += [item for item in found if item.role != ORIGINAL or item.evaluation not in known]
            paper += [row for row in rows if row.name not in {other.name for other in paper}]
    first = sessions[0]
    with first.timed("comparison"):
        plan = Plan(kind="comparison", name=" and ".join(session.config.name for session in sessions), paper=paper)
        comparison = first.keep("comparison", write_experiment(plan, models, first.store, first.context))
    method = _method_names(first.config)[0]
    control = None if controls == "none" else method + CONTROL
    report_of(first, {ORIGINAL: ORIGINAL, method: method}, method=method, control=control, experiments=[comparison])


def compare_methods(session: Session, controls: Controls, *, prefix: str = "") -> tuple[list[MeasuredModel], list[Row]]:
    """The original, a run's methods and their controls, measured; and the paper's rows that belong beside them."""
    config, sets = session.config, EvaluationSets(session)
    overlap_of(session, [*_methods(config).values()])
    original = measure_original(session, sets)
    models = [MeasuredModel(f"{prefix}{ORIGINAL}", ORIGINAL, original)]
    drawn: list[MeasuredModel] = []
    for number, (name, method) in enumerate(_methods(config).items()):
        run = config.with_method(method)
        try:
            scores = scores_of(session, run, name=name)
            edit = selected_edit(session, scores, run, name)
        except NotSelectable as error:
            raise NotSelectable(f"method {name}: {error}") from error
        evaluation = measure_edit(session, sets, edit, name)
        difference = difference_of(session, original, evaluation, name)
        advance(_STAGE)
        shown = name if name == config.name else f"{prefix}{name}"
        lead = None
        if controls == "each" or (controls == "first" and number == 0):
            drawn.append(_control(session, sets, original, edit, name, f"{shown}: random control"))
            lead = lead_of(session, name, name + CONTROL)
        models.append(MeasuredModel(shown, "method", evaluation, edit, difference, lead, _settings(method)))
        if "loss" in method.signs.values():
            drawn += _sign_controls(session, sets, original, Filtered(name, shown, run, scores, edit))
    return [*models, *drawn], _paper_rows(session, original, _methods(config))


def _methods(config: RunConfig) -> dict[str, MethodConfig]:
    return config.methods or {config.name: MethodConfig(text=config.text, vision=config.vision)}


def _n_edited(config: RunConfig, controls: Controls) -> int:
    n_methods = len(_methods(config))
    return n_methods + {"each": n_methods, "first": 1, "none": 0}[controls]


def _method_names(config: RunConfig) -> list[str]:
    return [*_methods(config)]


def _settings(method: MethodConfig) -> dict[str, Any]:
    return {encoder: chosen.acting for encoder, chosen in method.edited.items()}


def _control(
    session: Session, sets: EvaluationSets, original: ArtifactRef, edit: ArtifactRef, name: str, shown: str
) -> MeasuredModel:
    seed = session.config.seed
    label = f"{name}{CONTROL}"
    drawn = control_edit(session, edit, seed, label)
    evaluation = measure_edit(session, sets, drawn, label)
    difference = difference_of(session, original, evaluation, label)
    advance(_STAGE)
    return MeasuredModel(shown, "control", evaluation, drawn, difference, settings={"seed": seed})


def _sign_controls(
    session: Session, sets: EvaluationSets, original: ArtifactRef, method: Filtered
) -> list[MeasuredModel]:
    """What the sign alone does, and what the method does where it goes the other way; as many weights of the same layers."""
    seed, found = session.config.seed, []
    label = f"{method.name}{SIGN_CONTROL}"
    drawn = sign_control_edit(session, method.edit, method.scores, seed, label)
    told: dict[str, Any] = {"seed": seed, "sign": {**method.run.signs}}
    found.append((label, f"{method.shown}: random + sign", drawn, told))
    label, other = f"{method.name}{OPPOSITE}", _opposite(method.run)
    edit = selected_edit(session, scores_of(session, other, name=label), other, label)
    found.append((label, f"{method.shown}: opposite sign", edit, _settings(other)))
    models = []
    for label, shown, edit, told in found:
        evaluation = measure_edit(session, sets, edit, label)
        difference = difference_of(session, original, evaluation, label)
        models.append(MeasuredModel(shown, "control", evaluation, edit, difference, settings=told))
    return models


def _opposite(run: RunConfig) -> RunConfig:
    turned = {
        encoder: chosen.model_copy(update={"sign": "against"}) if chosen.sign == "loss" else chosen
        for encoder, chosen in run.edited.items()
    }
    return run.with_method(MethodConfig(text=turned.get("text"), vision=turned.get("vision")))


def _paper_rows(session: Session, original: ArtifactRef, methods: dict[str, MethodConfig]) -> list[Row]:
    folder = session.store.path(original)
    if not session.store.holds(original):  # a plan
        return []
    tags = {figure.tag for figure in read_by_tag(folder) if figure.tag is not None}
    rows = []
    for method in (None, *methods.values()):
        found = paper_row(session.config, method, n_test_pairs=int(read_metrics(folder)["n_pairs"]), tags=tags)
        if found is not None:
            rows.append(Row(name=found[0], role="paper", values=found[1]))
    return rows


def _require_own_names(configs: Sequence[RunConfig]) -> None:
    names = [config.name for config in configs]
    if len(set(names)) < len(names):
        raise SpecError(
            f"runs to compare must have different names, got {', '.join(names)}; change name in one of them"
        )
    for config in configs:
        for name in _methods(config):
            if name == ORIGINAL or name.endswith((CONTROL, SIGN_CONTROL, OPPOSITE)):
                raise SpecError(
                    f"run {config.name} has a method named {name}, as the unedited model and random controls are; give"
                    " it another name"
                )


def _require_same_pairs(sessions: Sequence[Session]) -> None:
    """Refuse runs on other pairs before hours go into their methods."""
    first, *others = [(session, measure_original(session, EvaluationSets(session))) for session in sessions]
    for session, original in others:
        try:
            difference_of(session, first[1], original, f"{ORIGINAL}s")
        except DataError as error:
            raise DataError(f"{first[0].config.name} and {session.config.name}: {error}") from error
