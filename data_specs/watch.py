"""WATCH.yaml: which models are measured on which sets night after night, and what must hold."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from data_specs.captioning import CaptioningConfig
from data_specs.data_sets import ZeroShotConfig
from data_specs.fetching import FetchConfig
from data_specs.fields import BatchSize, Location, only_numbers
from data_specs.gate import Gate, GateLimits, checked_gates, gates_of
from data_specs.notification import Notification
from data_specs.run_config import Decoder, ModelConfig, Precision
from data_specs.spec import Spec
from data_specs.store_place import StoreConfig
from data_specs.suggestions import did_you_mean

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]

BASELINE = "baseline"  # what the baseline is called where it is none of the models


class WatchedModel(Spec):
    """Which model is measured."""

    tag: str | None = Field(
        default=None, min_length=1, description="tag, or other REF, of a model or edit of the store"
    )
    config: Location | None = Field(default=None, description="CONFIG.yaml of a run: the model that it edits is made")
    model: ModelConfig | None = Field(default=None, description="a model as it is, as CONFIG.yaml names it")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(given is not None for given in (self.tag, self.config, self.model)) != 1:
            raise ValueError("give one of tag, config and model")
        return self


class WatchedSet(Spec):
    """What models are measured on."""

    shards: list[Location] = Field(min_length=1, description="paired shards with all four members; braces and * expand")
    limit: int | None = Field(default=None, ge=1, le=100_000_000, description="pairs used, in shard order; null: all")
    zero_shot: list[ZeroShotConfig] = Field(default_factory=list, description="classification data sets")

    _numbers = field_validator("limit", mode="before")(only_numbers)

    @field_validator("shards", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class Watch(Spec):
    """Models, sets, a baseline, gates and who is told."""

    name: Name = Field(description="under which nights are kept")
    models: dict[Name, WatchedModel] = Field(min_length=1)
    sets: dict[Name, WatchedSet] = Field(min_length=1)
    baseline: WatchedModel | None = Field(default=None, description="what changes are changes from")
    gates: dict[str, GateLimits] = Field(
        default_factory=dict,
        description="by metric, such as GS, zero_shot, GS[tag=violence] or unsafe_share.unsafe.words",
    )
    captioning: CaptioningConfig | None = Field(
        default=None, description="of models that no config names, such as the original; a config has its own"
    )
    notify: list[Notification] = Field(default_factory=list, description="who is told, of what")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of the intervals")
    precision: Precision = Field(default="fp32", description="of the forward pass")
    batch_size: BatchSize = Field(default=32, description="samples in one forward pass; changes last digits")
    decoder: Decoder = Field(default="pillow", description="of pictures")
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1, description="share of bad samples that is tolerated")
    fetching: FetchConfig = Field(default=FetchConfig(), description="of shards that lie elsewhere; in no version")
    store: StoreConfig = Field(default=StoreConfig(), description="with whom artifacts are shared; in no version")

    _numbers = field_validator("seed", "max_bad_fraction", mode="before")(only_numbers)
    _figures = field_validator("gates", mode="before")(checked_gates)

    @model_validator(mode="after")
    def _baseline_is_no_name_of_a_model(self) -> Self:
        if BASELINE in self.models and self.models[BASELINE] != self.baseline:
            raise ValueError(f"models.{BASELINE} is called as the baseline is, and is another; give it another name")
        return self

    @model_validator(mode="after")
    def _gates_name_what_is_there(self) -> Self:
        for key, limits in self.gates.items():
            for what, named, known in (("models", limits.models, self.models), ("sets", limits.sets, self.sets)):
                for name in named or ():
                    if name not in known:
                        raise ValueError(f"gates.{key}.{what} names {name}, which is none{did_you_mean(name, known)}")
            if self.baseline is None and {"min_change", "max_change"} & limits.rules.keys():
                raise ValueError(f"gates.{key} limits a change, but there is no baseline; add baseline: {{tag: …}}")
        return self

    def gates_for(self, model: str, on: str) -> list[Gate]:
        """The gates of a model on a set, in order."""
        return gates_of(self.gates, model, on)
