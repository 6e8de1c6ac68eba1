"""The settings of a run, as written in CONFIG.yaml."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator

from data_specs.captioning import CaptioningConfig
from data_specs.data_sets import CalibrationConfig, EvaluationConfig, SelectionConfig
from data_specs.errors import SpecError
from data_specs.fetching import FetchConfig
from data_specs.fields import AUTO, NAME_PATTERN, BatchSize, Location, only_numbers
from data_specs.folding import BY_TAG_FIELD, SAMPLE_FIELD, SAMPLE_PAIRS, STATISTICS_FIELD, Statistics, require_folded
from data_specs.llava_setting import LLAVA_FIELD, require_of_a_tower, with_llava_alone
from data_specs.sign_filter import SIGN_FIELD, Sign, require_lowered, require_usable
from data_specs.spec import Spec
from data_specs.store_place import StoreConfig
from data_specs.wording import shown

Encoder = Literal["text", "vision"]
Content = Literal["safe", "unsafe"]
Aggregation = Literal["mean_of_ratios", "ratio_of_means"]
Rule = Literal["score_mass", "top_share"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Decoder = Literal["pillow", "torchvision"]
ScorerName = Literal["uwm", "unsafe_only", "difference", "gradient_unsafe", "gradient_safe_clip", "magnitude", "random"]

ENCODERS: tuple[Encoder, ...] = ("text", "vision")
CONTENTS: tuple[Content, ...] = ("safe", "unsafe")
HUB = "hf-hub:"  # begins a name on the Hugging Face hub
# What a scorer reads; the others read the weights alone.
ACTIVATION_SCORERS: tuple[ScorerName, ...] = ("uwm", "unsafe_only", "difference")
GRADIENT_SCORERS: tuple[ScorerName, ...] = ("gradient_unsafe", "gradient_safe_clip")
WITHOUT_SAFE_SCORERS: tuple[ScorerName, ...] = ("unsafe_only", "magnitude", "random")


def _require_nothing(schema: dict[str, Any]) -> None:
    # What an encoder's settings leave out is filled in before they are validated, which a JSON schema cannot say.
    schema.pop("required", None)


class ModelConfig(Spec):
    """Which model is measured and edited."""

    llava: Location | None = Field(default=None, description=LLAVA_FIELD)
    architecture: Location = Field(
        description="open_clip model name, hf-hub:ORG/NAME, or path of an open_clip config .json"
    )
    weights: Location | None = Field(
        default=None,
        description="open_clip pretrained tag, path of a .safetensors or .pt file, or a folder or hf-hub:ORG/NAME in"
        " transformers' CLIP format; not where architecture is hf-hub:",
    )
    tokenizer: Location | None = Field(
        default=None, description="local folder of a Hugging Face tokenizer, in place of the hub's"
    )
    quick_gelu: bool | None = Field(
        default=None,
        strict=True,
        description="activation of a weights file, which cannot say it: QuickGELU (OpenAI's) or GELU; null: as the"
        " architecture says",
    )

    _alone = model_validator(mode="before")(with_llava_alone)

    @model_validator(mode="after")
    def _weights_are_named(self) -> "ModelConfig":
        if self.weights is None and self.llava is None and not self.architecture.startswith(HUB):
            raise ValueError("weights is missing; give a pretrained tag (such as openai) or the path of a checkpoint")
        if self.weights is not None and self.architecture.startswith(HUB):
            raise ValueError(f"weights is {shown(self.weights)}, but hf-hub: names its own weights; remove weights")
        return self


class EncoderConfig(Spec):
    """How one encoder's weights are scored, selected and edited (paper Eq. 8-11)."""

    model_config = ConfigDict(json_schema_extra=_require_nothing)

    scorer: ScorerName = Field(default="uwm", description="what a weight's score is taken from")
    layers: str = Field(min_length=1, description="attention_output, mlp_output, or a glob over dotted layer names")
    aggregation: Aggregation = Field(default="mean_of_ratios", description="how uwm brings pairs together")
    weight_by_magnitude: bool = Field(strict=True, description="multiply scores by |W|")
    rule: Rule = Field(default="score_mass", description="how tau becomes a set of weights")
    tau: float = Field(default=0.98, gt=0, lt=1, description="share of the summed score (or of the weights) left alone")
    alpha: float = Field(
        default=-1.0, ge=-10, le=10, description="factor of the selected weights: -1 negates, 0 prunes"
    )
    batch_pairs: int = Field(
        default=512, ge=2, le=65_536, description="pairs in one batch of a gradient scorer; changes its scores"
    )

    sign: Sign = Field(default="none", description=SIGN_FIELD)
    statistics: Statistics = Field(default="rows", description=STATISTICS_FIELD)
    sums_by_tag: bool = Field(default=False, strict=True, description=BY_TAG_FIELD)
    sample_pairs: int = Field(default=SAMPLE_PAIRS, ge=0, le=65_536, description=SAMPLE_FIELD)

    _numbers = field_validator("tau", "alpha", "batch_pairs", "sample_pairs", mode="before")(only_numbers)

    @model_validator(mode="after")
    def _settings_fit_each_other(self) -> Self:
        require_lowered(self.sign, self.alpha)
        require_folded(self.statistics, self.sums_by_tag)
        return self

    @property
    def needs_pairs(self) -> bool:
        """Whether the scorer compares the two members of a pair."""
        return self.scorer in GRADIENT_SCORERS or (self.scorer == "uwm" and self.aggregation == "mean_of_ratios")

    @property
    def compares(self) -> str | None:
        """The setting that compares pictures with texts, if there is one."""
        if self.scorer in GRADIENT_SCORERS:
            return f"scorer: {self.scorer}"
        return f"sign: {self.sign}" if self.sign != "none" else None

    @property
    def acting(self) -> dict[str, JsonValue]:
        """The settings as recipes hold them: what came later is left out where it changes nothing."""
        later = {"sign": "none", "statistics": "rows", "sums_by_tag": False}
        unused = {name for name, usual in later.items() if getattr(self, name) == usual}
        return self.model_dump(mode="json", exclude=unused | {"sample_pairs"})


# Of the paper: its released code multiplies the text encoder's activation scores by |W|, and no other scores.
_ENCODER_DEFAULTS: dict[Encoder, dict[str, Any]] = {
    "text": {"layers": "attention_output", "batch_pairs": 512},
    "vision": {"layers": "mlp_output", "batch_pairs": 64},
}


def _with_encoder_defaults(value: Any, encoder: Encoder) -> Any:
    if not isinstance(value, dict):
        return value
    weighted = encoder == "text" and value.get("scorer", "uwm") in ACTIVATION_SCORERS
    return _ENCODER_DEFAULTS[encoder] | {"weight_by_magnitude": weighted} | value


TEXT_DEFAULTS = EncoderConfig.model_validate(_with_encoder_defaults({}, "text"))
VISION_DEFAULTS = EncoderConfig.model_validate(_with_encoder_defaults({}, "vision"))


class MethodConfig(Spec):
    """One way to edit the model; several of them are compared with each other."""

    text: EncoderConfig | None = Field(default=TEXT_DEFAULTS, description="null leaves the text encoder alone")
    vision: EncoderConfig | None = Field(default=VISION_DEFAULTS, description="null leaves the vision encoder alone")

    @field_validator("text", "vision", mode="before")
    @classmethod
    def _defaults(cls, value: Any, info: ValidationInfo) -> Any:
        return _with_encoder_defaults(value, "text" if info.field_name == "text" else "vision")

    @model_validator(mode="after")
    def _edits_something(self) -> Self:
        if self.text is None and self.vision is None:
            raise ValueError("text and vision are both null: nothing would be edited")
        return self

    def encoder(self, name: Encoder) -> EncoderConfig | None:
        """The settings of one encoder, or None where it is left alone."""
        return self.text if name == "text" else self.vision

    @property
    def edited(self) -> dict[Encoder, EncoderConfig]:
        """The settings of the encoders that are scored and edited, text first."""
        return {name: config for name in ENCODERS if (config := self.encoder(name)) is not None}

    @property
    def signs(self) -> dict[Encoder, Sign]:
        """The sign filters of the encoders that have one."""
        return {name: config.sign for name, config in self.edited.items() if config.sign != "none"}


class RunConfig(MethodConfig):
    """Everything that decides a run's numbers; paths, devices and worker counts stay outside."""

    name: str = Field(pattern=NAME_PATTERN, description="name of the run in tables and reports")
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of everything drawn at random")
    model: ModelConfig
    calibration: CalibrationConfig
    evaluation: EvaluationConfig
    selection: SelectionConfig | None = Field(
        default=None, description="where `uwm sweep --choose` chooses, in place of a part of the evaluation's pairs"
    )
    methods: dict[Annotated[str, Field(pattern=NAME_PATTERN)], MethodConfig] = Field(
        default_factory=dict, description="ways to edit that `uwm compare` sets side by side"
    )
    captioning: CaptioningConfig | None = Field(
        default=None, description="what `uwm caption` does with the edit of the vision encoder; in no other version"
    )
    precision: Precision = Field(default="fp32", description="of the forward pass; statistics are float32")
    batch_size: BatchSize = Field(
        default=32,
        description="samples in one forward pass; changes last digits; auto becomes a number by the device's memory",
    )
    decoder: Decoder = Field(
        default="pillow",
        description="of pictures: torchvision takes half the time for a JPEG, and rounds otherwise than pillow",
    )
    fetching: FetchConfig = Field(default=FetchConfig(), description="of shards that lie elsewhere; in no version")
    store: StoreConfig = Field(default=StoreConfig(), description="with whom artifacts are shared; in no version")
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1, description="share of bad samples that is tolerated")

    _numbers = field_validator("seed", "max_bad_fraction", mode="before")(only_numbers)

    @model_validator(mode="before")
    @classmethod
    def _methods_start_from_the_run(cls, data: Any) -> Any:
        methods = data.get("methods") if isinstance(data, dict) else None
        if not isinstance(methods, dict):
            return data
        inherited = {name: _inherit(method, data) for name, method in methods.items()}
        return {**data, "methods": inherited}

    @model_validator(mode="after")
    def _puts_a_whole_encoder_in(self) -> Self:
        if self.model.llava is not None and self.captioning is not None and self.captioning.tower == "model":
            raise ValueError(
                "captioning.tower is model, which puts the vision encoder of a CLIP in, but model.llava has no whole one; name a"
                " CLIP as model, or set captioning.tower: own"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_calibration(self) -> Self:
        ways: dict[str, MethodConfig] = {"": self, **{f"methods.{name}.": way for name, way in self.methods.items()}}
        for where, method in ways.items():
            for encoder, config in method.edited.items():
                if self.model.llava is not None:
                    require_of_a_tower(f"{where}{encoder}", encoder, config.compares)
                _require_calibration(f"{where}{encoder}", config, self.calibration.paired, self.precision)
                _require_safe_side(f"{where}{encoder}", config, self.calibration)
        return self

    def reading(self, encoder: Encoder) -> dict[str, JsonValue]:
        """How inputs become an encoder's outputs, as recipes hold it: a decoder that was always there is left out."""
        decoder = {} if encoder == "text" or self.decoder == "pillow" else {"decoder": self.decoder}
        return {"precision": self.precision, "batch_size": self.inputs_at_once, **decoder}

    @property
    def inputs_at_once(self) -> int:
        """Inputs in one forward pass.

        Raises:
            SpecError: nothing has said on which device, which `auto` needs.
        """
        if self.batch_size == AUTO:
            raise SpecError("batch_size is auto, which becomes a number where a run knows its device; give a number")
        return int(self.batch_size)

    def with_batch_size(self, usual: int) -> "RunConfig":
        """The same run with a number in place of `auto`."""
        return self.model_copy(update={"batch_size": usual}) if self.batch_size == AUTO else self

    def with_method(self, method: MethodConfig) -> "RunConfig":
        """The same run with another way to edit."""
        return self.model_copy(update={"text": method.text, "vision": method.vision, "methods": {}})


def _inherit(method: Any, run: dict[str, Any]) -> Any:
    if not isinstance(method, dict):
        return method
    settings = dict(method)
    for encoder in ENCODERS:
        base, own = run.get(encoder, {}), method.get(encoder, {})
        if encoder not in method and base is None:
            settings[encoder] = None
        if isinstance(base, dict) and isinstance(own, dict):
            # Whether |W| counts is the scorer's habit, so another scorer does not inherit it.
            other = "scorer" in own and own["scorer"] != base.get("scorer", "uwm")
            kept = {key: value for key, value in base.items() if not (other and key == "weight_by_magnitude")}
            settings[encoder] = kept | own
    return settings


def _require_safe_side(where: str, config: EncoderConfig, calibration: CalibrationConfig) -> None:
    if not calibration.paired and calibration.safe is None and config.scorer not in WITHOUT_SAFE_SCORERS:
        raise ValueError(
            f"{where}.scorer is {config.scorer}, which compares with safe samples, but calibration gives unsafe ones alone;"
            f" add calibration.safe or set {where}.scorer: unsafe_only"
        )


def _require_calibration(where: str, config: EncoderConfig, paired: bool, precision: Precision) -> None:
    require_usable(where, config.sign, paired=paired, precision=precision)
    if config.needs_pairs and not paired:
        what = "aggregation is mean_of_ratios" if config.scorer == "uwm" else f"scorer is {config.scorer}"
        raise ValueError(
            f"{where}.{what}, which needs paired shards, but calibration gives safe and unsafe lists; set"
            f" {where}.{'aggregation: ratio_of_means' if config.scorer == 'uwm' else 'scorer: uwm, ratio_of_means'}"
        )
    if config.scorer in GRADIENT_SCORERS and precision == "fp16":
        raise ValueError(f"{where}.scorer is {config.scorer}, whose gradients vanish in fp16; set precision: bf16")
