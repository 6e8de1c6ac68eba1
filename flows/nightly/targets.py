"""What a watch names as models: which base model, and which edit on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_specs.config_file import load_config
from data_specs.data_sets import CalibrationConfig, EvaluationConfig
from data_specs.errors import ArtifactError, SpecError
from data_specs.manifest import ArtifactRef
from data_specs.run_config import ModelConfig, RunConfig
from data_specs.watch import Watch, WatchedModel
from data_specs.wording import shown
from flows.references import find_reference
from tasks.lineage.runs import run_records
from tasks.lineage.store import Store

_EDITS = ("model", "edit")
_ROLES = (*_EDITS, "evaluation.edited", "evaluation.original", "evaluation")


@dataclass(frozen=True)
class Target:
    """A model that a watch names, or for a baseline the evaluation that it names."""

    name: str
    model: ModelConfig | None = None
    edit: ArtifactRef | None = None  # on the base model; a `model` stands for the edit that made it
    run: RunConfig | None = None  # whose edit is made first
    evaluation: ArtifactRef | None = None

    def is_same(self, other: "Target") -> bool:
        """Whether two names stand for one model."""
        return (self.model, self.edit, self.run) == (other.model, other.edit, other.run) and self.evaluation is None


def find_target(store: Store, name: str, named: WatchedModel) -> Target:
    """What a watch's entry stands for at this moment.

    Args:
        store: where tags and artifacts are looked up.
        name: of the entry, or `baseline`.
        named: the entry.

    Raises:
        SpecError: the settings of a run that it names are wrong.
        ArtifactError: a tag or other REF names nothing, or no model.
    """
    if named.config is not None:
        run = load_config(Path(named.config))
        return Target(name, model=run.model, run=run)
    if named.model is not None:
        return Target(name, model=named.model)
    ref = find_reference(store, str(named.tag), _ROLES)
    if ref.kind == "evaluation":
        return Target(name, evaluation=ref)
    if ref.kind not in _EDITS:
        raise ArtifactError(
            f"{name}: {shown(named.tag)} names {ref.kind} {ref.version[:12]}, expected a model or an edit"
            " (for a baseline also an evaluation); see `uwm tag --list`"
        )
    return Target(name, model=_base_of(store, ref), edit=_edit_of(store, ref))


def config_of(target: Target, watch: Watch, on: str) -> RunConfig:
    """The settings of one model's run on one set, called `WATCH.MODEL.SET`.

    A model that is there calibrates nothing; its settings name the set's shards, which nobody reads for that.
    """
    asked = watch.sets[on]
    evaluation = EvaluationConfig(shards=asked.shards, limit=asked.limit, zero_shot=asked.zero_shot)
    name = f"{watch.name}.{target.name}.{on}"
    if target.run is not None:
        return target.run.model_copy(update={"name": name, "evaluation": evaluation, "selection": None, "methods": {}})
    return RunConfig(
        name=name,
        seed=watch.seed,
        model=_required(target.model),
        calibration=CalibrationConfig(shards=asked.shards),
        evaluation=evaluation,
        precision=watch.precision,
        batch_size=watch.batch_size,
        decoder=watch.decoder,
        max_bad_fraction=watch.max_bad_fraction,
        fetching=watch.fetching,
        store=watch.store,
        captioning=watch.captioning,
    )


def _required(model: ModelConfig | None) -> ModelConfig:
    if model is None:
        raise SpecError("an evaluation can only be a baseline; name a model, or an edit")
    return model


def _edit_of(store: Store, ref: ArtifactRef) -> ArtifactRef:
    """The edit that made a `model`, whose checkpoint need not be there."""
    made_by = ref if ref.kind == "edit" else store.manifest(ref).recipe.inputs.get("edit")
    if not isinstance(made_by, ArtifactRef):
        raise ArtifactError(f"model {ref.version[:12]} names no edit that it was made by")
    return made_by


def _base_of(store: Store, ref: ArtifactRef) -> ModelConfig:
    """The base model in the settings of the run that made an artifact."""
    told = store.manifest(ref).settings
    found: Any = told.resolved.get("model") if told is not None else None
    if found is None:
        made = (item for item in run_records(store.root) if ref.version in (item.get("artifacts") or {}).values())
        found = next((item["settings"].get("model") for item in made), None)
    try:
        return ModelConfig.model_validate(found)
    except ValidationError as error:
        raise ArtifactError(
            f"nothing says which base model {ref.kind} {ref.version[:12]} is of; name the CONFIG.yaml of its run in"
            " place of the tag"
        ) from error
