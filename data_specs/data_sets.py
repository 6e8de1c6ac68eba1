"""The shards of a run: what weights are scored on, what points are chosen on, what models are measured on."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from data_specs.fields import NAME_PATTERN, Location, only_numbers
from data_specs.spec import Spec
from data_specs.wording import shown

Templates = Literal["data_set", "paper"]


class CalibrationConfig(Spec):
    """The shards on which weights are scored: paired, or one list for each side."""

    shards: list[Location] | None = Field(default=None, min_length=1, description="paired shards; braces and * expand")
    safe: list[Location] | None = Field(default=None, min_length=1, description="unpaired shards of safe samples")
    unsafe: list[Location] | None = Field(default=None, min_length=1, description="unpaired shards of unsafe samples")
    limit: int | None = Field(default=8192, ge=1, le=100_000_000, description="samples used, in shard order; null: all")
    tags: list[str] | None = Field(default=None, min_length=1, description="use only pairs with these tags; null: all")

    _numbers = field_validator("limit", mode="before")(only_numbers)

    @model_validator(mode="after")
    def _paired_or_unpaired(self) -> "CalibrationConfig":
        sides = (self.safe is not None, self.unsafe is not None)
        if (self.shards is None) == (sides == (False, False)) or sides == (True, False):
            raise ValueError(
                "give either shards (paired) or both safe and unsafe (unpaired; unsafe alone where every scorer is"
                " unsafe_only)"
            )
        return self

    @property
    def paired(self) -> bool:
        """Whether every sample holds a safe and an unsafe side."""
        return self.shards is not None


class ZeroShotConfig(Spec):
    """One zero-shot classification data set in CLIP_benchmark's WebDataset layout."""

    name: str = Field(pattern=NAME_PATTERN, description="name in the tables")
    path: Location = Field(description="folder with classnames.txt and SPLIT/nshards.txt")
    split: str = Field(default="test", pattern=r"^[A-Za-z0-9_-]+$", description="folder of the shards to classify")
    templates: Templates = Field(
        default="data_set", description="prompts: the data set's own ensemble, or the paper's one template"
    )


class EvaluationConfig(Spec):
    """What the models are measured on."""

    shards: list[Location] = Field(min_length=1, description="paired shards with all four members; braces and * expand")
    limit: int | None = Field(default=None, ge=1, le=100_000_000, description="pairs used, in shard order; null: all")
    choose_on: float | None = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="share of pairs and zero-shot images, by the hash of their ids, on which `uwm sweep --choose` chooses;"
        " it reports on the others; null: chooses and reports on all",
    )
    zero_shot: list[ZeroShotConfig] = Field(default_factory=list, description="classification data sets")

    _numbers = field_validator("limit", "choose_on", mode="before")(only_numbers)

    @field_validator("zero_shot")
    @classmethod
    def _names_differ(cls, value: list[ZeroShotConfig]) -> list[ZeroShotConfig]:
        names = [data_set.name for data_set in value]
        if len(set(names)) < len(names):
            raise ValueError(f"data set names must differ, got {shown(names)}")
        return value


class SelectionConfig(Spec):
    """Pairs of their own on which a sweep chooses, so that it reports on all of the evaluation's."""

    shards: list[Location] = Field(min_length=1, description="paired shards with all four members; braces and * expand")
    limit: int | None = Field(default=None, ge=1, le=100_000_000, description="pairs used, in shard order; null: all")

    _numbers = field_validator("limit", mode="before")(only_numbers)
