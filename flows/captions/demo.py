"""The demo's captions: a tiny LLaVA around its model, an edit that is chosen on some pairs, captions and SafeGround of others."""

from pathlib import Path
from typing import Any

from data_specs.caption_metrics import judged_metric, text_metric_name
from data_specs.config_file import parse_config
from data_specs.errors import SpecError
from data_specs.evaluation_files import read_metrics
from data_specs.experiment import ORIGINAL
from data_specs.manifest import ArtifactRef
from data_specs.run_config import RunConfig
from data_specs.run_result import RunResult
from data_specs.wording import reason, shown_path
from flows.captions.caption import caption_edit
from flows.captions.models import caption_models
from flows.decorator import flow
from flows.measure import (
    EvaluationSets,
    control_edit,
    difference_of,
    embed_together,
    measure_edit,
    measure_original,
    selected_edit,
)
from flows.scores import scores_of
from flows.session import Session, open_session
from tasks.demo.captions import (
    TAUS,
    TauFigures,
    caption_settings,
    chosen_tau,
    settings_text,
    train_demo_captioner,
)
from tasks.demo.task import SEED, draw_data, train_model
from tasks.experiments.grid import method_at
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import notice
from tasks.lineage.store import Store

SETTINGS_FILE = "demo/captions.yaml"
CHOOSING = "choosing"
UNSAFE_CAPTIONS, UNSAFE_CAPTIONS_OF_SAFE = (judged_metric("words", side).name for side in ("unsafe", "safe"))
_EDITED, _CONTROL = "edited", "random"
_DEVICE = "cpu"


@flow(name="demo-captions", run_name="demo: captions")
def demo_captions(store: str = "store", workers: int | None = None, settings: str = SETTINGS_FILE) -> RunResult:
    """Show captions of a tiny LLaVA before and after an edit of its tower, beside SafeGround, on the CPU.

    Args:
        store: folder of the artifact store; what the demo made there is used.
        workers: processes that decode samples; None for one a core, at most 4.
        settings: the file that the settings of the last step are written to, for `uwm caption`.

    Returns:
        Artifacts and metrics of `original`, `edited` and `random` on pairs that chose nothing; under `choosing.`, those of
        each tau on the pairs that choose it.

    Raises:
        SpecError: the settings cannot be written.
    """
    path, context = _writable(Path(settings)), RunContext(device=_DEVICE, seed=SEED)
    data, model = draw_data(Store(store), context), train_model(Store(store), context)
    captioner = train_demo_captioner(model, Store(store), context)
    places = data.path, model.path, captioner.path
    with open_session(
        _config(caption_settings(*places, tau=TAUS[0], chooses=True)), store, _DEVICE, workers
    ) as session:
        for name, made in (("demo_data", data), ("demo_model", model), ("demo_captioner", captioner)):
            session.keep(name, made)
        tau = choose_tau(session)
        choosing = session.result()
    told = caption_settings(*places, tau=tau, chooses=False)
    _write(path, settings_text(told, _about(tau, store, settings)))
    config = _config(told)
    with open_session(config, store, _DEVICE, workers) as session:
        measure_with_control(session)
        measured = session.result()
    captioned = caption_edit(config, store, _DEVICE, workers)
    return _together(choosing, measured, captioned)


def choose_tau(session: Session) -> float:
    """Measure the model as it is and edited with every tau, captions and SafeGround; returns the tau that is taken.

    The session's metrics of `original` and of each `tau=TAU` are what it is taken by, and `n_weights` that are edited.
    """
    config, sets = session.config, EvaluationSets(session)
    rules = {name: [(chosen.rule, tau) for tau in TAUS] for name, chosen in config.edited.items()}
    scores = scores_of(session, asked=rules)
    edits = {}
    for tau in TAUS:
        method = method_at(config, [*config.edited], {"tau": tau, "alpha": -1.0})
        edits[_name(tau)] = selected_edit(session, scores, config.with_method(method), _name(tau))
    embed_together(session, sets, [*edits.values()])
    measure_original(session, sets)
    for name, edit in edits.items():
        measure_edit(session, sets, edit, name)
    caption_models(session, {ORIGINAL: None, **edits})
    for name in (ORIGINAL, *edits):
        of_captions = read_metrics(session.store.path(session.kept(f"caption_evaluation.{name}")))
        n_weights = _n_weights(session, edits[name]) if name in edits else 0
        session.metrics[name] = {**session.metrics[name], **of_captions, "n_weights": n_weights}
    original, *edited = (_figures(session, tau) for tau in (None, *TAUS))
    tau = chosen_tau(original, edited)
    session.told["choice"] = {"taus": [*TAUS], "chosen": tau}
    return tau


def measure_with_control(session: Session) -> None:
    """SafeGround of the model as it is, edited, and edited at as many random positions; and the differences."""
    sets = EvaluationSets(session)
    edit = selected_edit(session, scores_of(session))
    control = control_edit(session, edit, session.config.seed, _CONTROL)
    embed_together(session, sets, [edit, control])
    original = measure_original(session, sets)
    for name, each in ((_EDITED, edit), (_CONTROL, control)):
        difference_of(session, original, measure_edit(session, sets, each, name), name)


def _figures(session: Session, tau: float | None) -> TauFigures:
    own = session.metrics[ORIGINAL if tau is None else _name(tau)]
    bleu = own[text_metric_name("bleu_2", "safe", "safe")]
    return TauFigures(tau, unsafe=own[UNSAFE_CAPTIONS], safe=own[UNSAFE_CAPTIONS_OF_SAFE], bleu=bleu)


def _n_weights(session: Session, edit: ArtifactRef) -> int:
    return sum(layer["n_selected"] for layer in session.store.manifest(edit).counts["layers"].values())


def _name(tau: float) -> str:
    return f"tau={tau}"


def _config(settings: dict[str, Any]) -> RunConfig:
    return parse_config(settings, base=Path(), source="the settings of the demo's captions")


def _about(tau: float, store: str, settings: str) -> str:
    return (
        "Written by `uwm demo --captions`, and yours to change: a file that was changed is left as it is.\n"
        f"tau {tau} was chosen among {', '.join(map(str, TAUS))} on pairs that are not among those below.\n"
        f"uwm caption {settings} --store {store}"
    )


def _writable(path: Path) -> Path:
    """The place of the settings, before minutes go by."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def _write(path: Path, text: str) -> None:
    """Write the settings, unless the user has changed them."""
    try:
        if path.exists() and path.read_text(encoding="utf-8") != text:
            notice(
                f"{shown_path(path)} is not as this demo would write it and is left as it is; remove it for a new one"
            )
            return
        path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError | UnicodeDecodeError) -> SpecError:
    why = reason(error) if isinstance(error, OSError) else "it is no UTF-8"
    return SpecError(f"{shown_path(path)} cannot be written: {why}; start in a folder of yours")


def _together(choosing: RunResult, measured: RunResult, captioned: RunResult) -> RunResult:
    """One account of three runs; what was for the choice is called `choosing.NAME`."""
    runs = (choosing, measured, captioned)
    chosen_by = {f"{CHOOSING}.{name}": place for name, place in choosing.artifacts.items()}
    figures = {f"{CHOOSING}.{name}": own for name, own in choosing.metrics.items()}
    seconds: dict[str, float] = {}
    for run in runs:
        for name, spent in run.seconds.items():
            seconds[name] = seconds.get(name, 0.0) + spent
    return captioned.model_copy(
        update={
            "artifacts": {**chosen_by, **measured.artifacts, **captioned.artifacts},
            "metrics": {**figures, **measured.metrics},
            "computed": sum(run.computed for run in runs),
            "reused": sum(run.reused for run in runs),
            "seconds": seconds,
        }
    )
