"""The settings of a run, as written in CONFIG.yaml."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from data_specs.spec import Spec

Encoder = Literal["text", "vision"]
Content = Literal["safe", "unsafe"]
Aggregation = Literal["mean_of_ratios", "ratio_of_means"]
Rule = Literal["score_mass", "top_share"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]

ENCODERS: tuple[Encoder, ...] = ("text", "vision")
CONTENTS: tuple[Content, ...] = ("safe", "unsafe")


def _refuse_boolean(value: Any) -> Any:
    # YAML's `yes` would count as 1, and a max_bad_fraction of 1 tolerates everything.
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {value}")
    return value


class ModelConfig(Spec):
    """Which model is measured and edited."""

    architecture: str = Field(
        min_length=1, description="open_clip model name, hf-hub:ORG/NAME, or path of an open_clip config .json"
    )
    weights: str | None = Field(
        default=None, description="open_clip pretrained tag or path of a .safetensors or .pt file; not with hf-hub:"
    )

    @model_validator(mode="after")
    def _weights_are_named(self) -> "ModelConfig":
        if self.weights is None and not self.architecture.startswith("hf-hub:"):
            raise ValueError("weights is missing; give a pretrained tag (such as openai) or the path of a checkpoint")
        if self.weights is not None and self.architecture.startswith("hf-hub:"):
            raise ValueError(f"weights is {self.weights!r}, but hf-hub: names its own weights; remove weights")
        return self


class CalibrationConfig(Spec):
    """The shards on which weights are scored: paired, or one list for each side."""

    shards: list[str] | None = Field(default=None, min_length=1, description="paired shards; braces expand")
    safe: list[str] | None = Field(default=None, min_length=1, description="unpaired shards of safe samples")
    unsafe: list[str] | None = Field(default=None, min_length=1, description="unpaired shards of unsafe samples")
    limit: int | None = Field(default=8192, ge=1, le=100_000_000, description="samples used, in shard order; null: all")
    tags: list[str] | None = Field(default=None, min_length=1, description="use only pairs with these tags; null: all")

    _numbers = field_validator("limit", mode="before")(_refuse_boolean)

    @model_validator(mode="after")
    def _paired_or_unpaired(self) -> "CalibrationConfig":
        sides = (self.safe is not None, self.unsafe is not None)
        if (self.shards is None) == (sides == (False, False)) or sides in ((True, False), (False, True)):
            raise ValueError("give either shards (paired) or both safe and unsafe (unpaired)")
        return self

    @property
    def paired(self) -> bool:
        """Whether every sample holds a safe and an unsafe side."""
        return self.shards is not None


class ZeroShotConfig(Spec):
    """One zero-shot classification data set in CLIP_benchmark's WebDataset layout."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="name in the tables")
    path: str = Field(min_length=1, description="folder with classnames.txt and SPLIT/nshards.txt")
    split: str = Field(default="test", pattern=r"^[A-Za-z0-9_-]+$", description="folder of the shards to classify")
    batch_size: int = Field(default=64, ge=1, le=4096, description="images in one forward pass")

    _numbers = field_validator("batch_size", mode="before")(_refuse_boolean)


class EvaluationConfig(Spec):
    """What the models are measured on."""

    shards: list[str] = Field(min_length=1, description="paired shards with all four members; braces expand")
    limit: int | None = Field(default=None, ge=1, le=100_000_000, description="pairs used, in shard order; null: all")
    zero_shot: list[ZeroShotConfig] = Field(default_factory=list, description="classification data sets")

    _numbers = field_validator("limit", mode="before")(_refuse_boolean)

    @field_validator("zero_shot")
    @classmethod
    def _names_differ(cls, value: list[ZeroShotConfig]) -> list[ZeroShotConfig]:
        names = [data_set.name for data_set in value]
        if len(set(names)) < len(names):
            raise ValueError(f"data set names must differ, got {names}")
        return value


class EncoderConfig(Spec):
    """How one encoder's weights are scored, selected and edited (paper Eq. 8-11)."""

    layers: str = Field(min_length=1, description="attention_output, mlp_output, or a glob over dotted layer names")
    aggregation: Aggregation = Field(default="mean_of_ratios", description="how pairs are brought together")
    weight_by_magnitude: bool = Field(description="multiply scores by |W|")
    rule: Rule = Field(default="score_mass", description="how tau becomes a set of weights")
    tau: float = Field(default=0.98, gt=0, lt=1, description="share of the summed score (or of the weights) left alone")
    alpha: float = Field(default=-1, ge=-10, le=10, description="factor of the selected weights: -1 negates, 0 prunes")

    _numbers = field_validator("tau", "alpha", mode="before")(_refuse_boolean)


def _with_encoder_defaults(value: Any, layers: str, weight_by_magnitude: bool) -> Any:
    if isinstance(value, dict):
        return {"layers": layers, "weight_by_magnitude": weight_by_magnitude} | value
    return value


TEXT_DEFAULTS = EncoderConfig(layers="attention_output", weight_by_magnitude=True)
VISION_DEFAULTS = EncoderConfig(layers="mlp_output", weight_by_magnitude=False)


class RunConfig(Spec):
    """Everything that decides a run's numbers; paths, devices and worker counts stay outside."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="name of the run in tables and reports")
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of everything drawn at random")
    model: ModelConfig
    calibration: CalibrationConfig
    evaluation: EvaluationConfig
    text: EncoderConfig | None = Field(default=TEXT_DEFAULTS, description="null leaves the text encoder alone")
    vision: EncoderConfig | None = Field(default=VISION_DEFAULTS, description="null leaves the vision encoder alone")
    precision: Precision = Field(default="fp32", description="of the forward pass; statistics are float32")
    batch_size: int = Field(default=32, ge=1, le=4096, description="samples in one forward pass; changes last digits")
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1, description="share of bad samples that is tolerated")

    _numbers = field_validator("seed", "batch_size", "max_bad_fraction", mode="before")(_refuse_boolean)

    @field_validator("text", mode="before")
    @classmethod
    def _text_defaults(cls, value: Any) -> Any:
        return _with_encoder_defaults(value, TEXT_DEFAULTS.layers, TEXT_DEFAULTS.weight_by_magnitude)

    @field_validator("vision", mode="before")
    @classmethod
    def _vision_defaults(cls, value: Any) -> Any:
        return _with_encoder_defaults(value, VISION_DEFAULTS.layers, VISION_DEFAULTS.weight_by_magnitude)

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        if self.text is None and self.vision is None:
            raise ValueError("text and vision are both null: nothing would be edited")
        for name in ENCODERS:
            config = self.encoder(name)
            if config and config.aggregation == "mean_of_ratios" and not self.calibration.paired:
                raise ValueError(
                    f"{name}.aggregation is mean_of_ratios, which needs paired shards, but calibration gives safe and"
                    f" unsafe lists; set {name}.aggregation: ratio_of_means"
                )
        return self

    def encoder(self, name: Encoder) -> EncoderConfig | None:
        """The settings of one encoder, or None where it is left alone."""
        return self.text if name == "text" else self.vision

    @property
    def edited_encoders(self) -> tuple[Encoder, ...]:
        """The encoders that are scored and edited, text first."""
        return tuple(name for name in ENCODERS if self.encoder(name) is not None)
