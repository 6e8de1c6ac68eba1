"""Gates on figures of captions that somebody must have."""

from data_specs.caption_metrics import CAPTION_METRICS, find_caption_metric, is_of_captions
from data_specs.captioning import CaptioningConfig
from data_specs.errors import PipelineError, SpecError
from data_specs.gate import gate_metric
from data_specs.suggestions import did_you_mean
from data_specs.watch import BASELINE, Watch, WatchedModel
from flows.nightly.targets import find_target
from tasks.lineage.store import Store


def require_captions_of_gates(store: Store, watch: Watch) -> None:
    """Refuse gates on captions of a model or baseline that is not captioned, or by a judge that it has not.

    What else is wrong with a model is told by its own turn.

    Raises:
        SpecError: there is such a gate.
    """
    for key, limits in watch.gates.items():
        metric, _ = gate_metric(key)
        if not is_of_captions(metric):
            continue
        for name in limits.models or watch.models:
            _require_captions(store, watch, key, name, watch.models[name])
        if {"min_change", "max_change"} & limits.rules.keys() and watch.baseline is not None:
            _require_captions(store, watch, key, BASELINE, watch.baseline)


def _require_captions(store: Store, watch: Watch, key: str, name: str, named: WatchedModel) -> None:
    try:
        target = find_target(store, name, named)
    except PipelineError:
        return
    captioning, where = watch.captioning, "the watch"
    if target.evaluation is not None:
        captioning, where = None, "the watch, and name a model or an edit in place of an evaluation"
    elif target.run is not None:
        captioning, where = target.run.captioning, str(named.config)
    _require_figure(key, name, captioning, where)


def _require_figure(key: str, name: str, captioning: CaptioningConfig | None, where: str) -> None:
    left_out = "" if name == BASELINE else f", or name in gates.{key}.models those that have it"
    if captioning is None:
        raise SpecError(
            f"gates.{key} is of captions, but {name} has no captioning; add captioning to {where}{left_out}"
        )
    metric, _ = gate_metric(key)
    judges = [judge.name for judge in captioning.judges]
    judge = find_caption_metric(metric).outcome
    if metric not in CAPTION_METRICS and judge not in judges:
        raise SpecError(
            f"gates.{key} is by the judge {judge}, but those of {name} are {', '.join(judges)}{did_you_mean(judge, judges)};"
            f" add it to captioning.judges of {where}{left_out}"
        )
