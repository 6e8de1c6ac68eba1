"""A comparison: several ways to edit, their controls and the paper's own figures on the same pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data_specs.captioning import AS_IT_IS, PUT_IN
from data_specs.errors import DataError, NotSelectable, SpecError
from data_specs.evaluation_files import read_by_tag, read_metrics
from data_specs.experiment import ORIGINAL, Row
from data_specs.fields import Workers
from data_specs.manifest import ArtifactRef
from data_specs.paper import paper_row
from data_specs.placement import Device
from data_specs.run_config import MethodConfig, RunConfig
from data_specs.run_result import RunResult
from data_specs.store_place import StoreLocation
from flows.captions.models import caption_models, require_captionable
from flows.decorator import flow
from flows.measure import (
    EvaluationSets,
    control_edit,
    difference_of,
    embed_together,
    measure_edit,
    measure_original,
    overlap_of,
    selected_edit,
    sign_control_edit,
)
from flows.parameters import Config
from flows.record import together
from flows.remotes.sharing import carry_out
from flows.report import lead_of, report_of
from flows.scores import require_inputs, scores_of
from flows.session import Session, open_sessions
from tasks.experiments.task import MeasuredModel, Plan, write_experiment
from tasks.lineage.progress import advance, stage

Controls = Literal["each", "first", "none"]


@dataclass(frozen=True)
class Control:
    """A control of a method: its name in the account and in the table, its edit and how that was made."""

    name: str
    shown: str
    edit: ArtifactRef
    settings: dict[str, Any]


@dataclass(frozen=True)
class Edited:
    """A method's edit, with those of its controls: as many weights drawn at random, and those of its sign filter."""

    name: str
    shown: str
    method: MethodConfig
    edit: ArtifactRef
    drawn: Control | None
    of_sign: list[Control]

    @property
    def edits(self) -> list[ArtifactRef]:
        """All of them."""
        return [self.edit, *(control.edit for control in self.controls)]

    @property
    def controls(self) -> list[Control]:
        """All of them."""
        return [*([self.drawn] if self.drawn else []), *self.of_sign]

    @property
    def on_a_tower(self) -> list[tuple[str, ArtifactRef]]:
        """Names and edits of those that a captioner would see through, which has CLIP's vision encoder alone."""
        if self.method.vision is None:
            return []
        return [(self.name, self.edit), *((control.name, control.edit) for control in self.controls)]


CONTROL = ".random_control"
_STAGE = "comparison"
SIGN_CONTROL, OPPOSITE = ".random_sign", ".opposite_sign"


@flow(name="compare", run_name="{configs[0].name}: compare")
def compare(
    configs: list[Config],
    controls: Controls = "each",
    store: StoreLocation = "store",
    device: Device = "auto",
    workers: Workers = None,
) -> RunResult:
    """Measure the methods of one or several runs and set them side by side.

    Args:
        configs: settings of runs on the same evaluation pairs; of each, its `methods`, or where there
            are none its own way to edit.
        controls: with each method, with the first of each run, or with none, a control that edits as
            many weights of the same layers, drawn at random. A method with a sign filter has its own two
            whatever is asked: as many weights drawn from those that the filter leaves, and its opposite.
        store: folder of the artifact store; or a mapping `{folder, remote}`, see docs/remote.md.
        device: auto, cpu, cuda, `cuda:0,cuda:1`, all or cpu:N; or a mapping `{devices, runner, address}`.
        workers: processes that decode samples; None for one a core, at most 4.

    Returns:
        Artifacts `comparison` and `report`, and everything that they are made of.
    """
    with open_sessions(configs, store, device, workers) as sessions:
        carry_out(sessions, lambda: steps_of_compare(sessions, controls))
        return together([session.result() for session in sessions])


def steps_of_compare(sessions: Sequence[Session], controls: Controls) -> None:
    """Measure the methods of several runs, set them side by side, and report on the first."""
    _require_own_names([session.config for session in sessions])
    for session in sessions:
        for way in _methods(session.config).values():
            require_inputs(session, way)
        require_captionable(session, [way.vision for way in _methods(session.config).values()])
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
    measured = {ORIGINAL: ORIGINAL, method: method}
    report_of(first, measured, method=method, control=control, experiments=[comparison], others=sessions[1:])


def compare_methods(session: Session, controls: Controls, *, prefix: str = "") -> tuple[list[MeasuredModel], list[Row]]:
    """The original, a run's methods and their controls, measured; and the paper's rows that belong beside them."""
    config, sets = session.config, EvaluationSets(session)
    overlap_of(session, [*_methods(config).values()])
    ways = [
        _edited(session, name, method, prefix, controls == "each" or (controls == "first" and number == 0))
        for number, (name, method) in enumerate(_methods(config).items())
    ]
    embed_together(session, sets, [edit for way in ways for edit in way.edits])
    original = measure_original(session, sets)
    models = [MeasuredModel(f"{prefix}{ORIGINAL}", ORIGINAL, original)]
    drawn: list[MeasuredModel] = []
    for way in ways:
        evaluation = measure_edit(session, sets, way.edit, way.name)
        difference = difference_of(session, original, evaluation, way.name)
        advance(_STAGE)
        lead = None
        if way.drawn is not None:
            drawn.append(_measured(session, sets, original, way.drawn))
            advance(_STAGE)
            lead = lead_of(session, way.name, way.drawn.name)
        models.append(MeasuredModel(way.shown, "method", evaluation, way.edit, difference, lead, _settings(way.method)))
        drawn += [_measured(session, sets, original, control) for control in way.of_sign]
    caption_models(session, {ORIGINAL: None} | {name: edit for way in ways for name, edit in way.on_a_tower})
    return [*models, *drawn], _paper_rows(session, original, _methods(config))


def _edited(session: Session, name: str, method: MethodConfig, prefix: str, with_control: bool) -> Edited:
    config = session.config
    run = config.with_method(method)
    try:
        scores = scores_of(session, run, name=name)
        edit = selected_edit(session, scores, run, name)
    except NotSelectable as error:
        raise NotSelectable(f"method {name}: {error}") from error
    shown = name if name == config.name else f"{prefix}{name}"
    drawn = None
    if with_control:
        label = name + CONTROL
        settings: dict[str, Any] = {"seed": config.seed}
        edit_drawn = control_edit(session, edit, config.seed, label)
        drawn = Control(label, f"{shown}: random control", edit_drawn, settings)
    of_sign = _sign_controls(session, run, scores, edit, name, shown) if "loss" in method.signs.values() else []
    return Edited(name, shown, method, edit, drawn, of_sign)


def _methods(config: RunConfig) -> dict[str, MethodConfig]:
    return config.methods or {config.name: MethodConfig(text=config.text, vision=config.vision)}


def _n_edited(config: RunConfig, controls: Controls) -> int:
    n_methods = len(_methods(config))
    return n_methods + {"each": n_methods, "first": 1, "none": 0}[controls]


def _method_names(config: RunConfig) -> list[str]:
    return [*_methods(config)]


def _settings(method: MethodConfig) -> dict[str, Any]:
    return {encoder: chosen.acting for encoder, chosen in method.edited.items()}


def _measured(session: Session, sets: EvaluationSets, original: ArtifactRef, control: Control) -> MeasuredModel:
    evaluation = measure_edit(session, sets, control.edit, control.name)
    difference = difference_of(session, original, evaluation, control.name)
    return MeasuredModel(control.shown, "control", evaluation, control.edit, difference, settings=control.settings)


def _sign_controls(
    session: Session, run: RunConfig, scores: ArtifactRef, edit: ArtifactRef, name: str, shown: str
) -> list[Control]:
    """What the sign alone does, and what the method does where it goes the other way; as many weights of the same layers."""
    seed, label, other = session.config.seed, name + OPPOSITE, _opposite(run)
    drawn = sign_control_edit(session, edit, scores, seed, name + SIGN_CONTROL)
    told: dict[str, Any] = {"seed": seed, "sign": {**run.signs}}
    turned = selected_edit(session, scores_of(session, other, name=label), other, label)
    return [
        Control(name + SIGN_CONTROL, f"{shown}: random + sign", drawn, told),
        Control(label, f"{shown}: opposite sign", turned, _settings(other)),
    ]


def _opposite(run: RunConfig) -> RunConfig:
    turned = {
        encoder: chosen.model_copy(update={"sign": "against"}) if chosen.sign == "loss" else chosen
        for encoder, chosen in run.edited.items()
    }
    return run.with_method(MethodConfig(text=turned.get("text"), vision=turned.get("vision")))


def _paper_rows(session: Session, original: ArtifactRef, methods: dict[str, MethodConfig]) -> list[Row]:
    if not session.store.is_here(original):  # a plan
        return []
    folder = session.store.path(original)
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
            put_in = config.captioning is not None and config.captioning.tower == "model" and name in (AS_IT_IS, PUT_IN)
            if name == ORIGINAL or put_in or name.endswith((CONTROL, SIGN_CONTROL, OPPOSITE)):
                raise SpecError(
                    f"run {config.name} has a method named {name}, as the unedited model, the captioner, a tower that is put in and random controls are; give"
                    " it another name"
                )


def _require_same_pairs(sessions: Sequence[Session]) -> None:
    """Refuse runs on other pairs before hours go into their methods."""
    if len(sessions) == 1:  # its original model is measured together with what it edits
        return
    first, *others = [(session, measure_original(session, EvaluationSets(session))) for session in sessions]
    for session, original in others:
        try:
            difference_of(session, first[1], original, f"{ORIGINAL}s")
        except DataError as error:
            raise DataError(f"{first[0].config.name} and {session.config.name}: {error}") from error
