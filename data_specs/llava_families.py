"""Language models that look at pictures through a vision encoder of CLIP's kind, and which of its layers they look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LlavaFamily:
    """One kind of checkpoint: by its `model_type`, where its `config.json` says which hidden states are read.

    Hidden state 0 is what the first block gets, k what block k gives, -1 the last; `feature_default` holds where the
    setting is left out.
    """

    model_type: str
    feature_settings: tuple[str, ...]
    feature_default: tuple[int, ...]


LLAVA_FAMILIES: tuple[LlavaFamily, ...] = (
    LlavaFamily("llava", ("vision_feature_layer",), (-2,)),
    LlavaFamily("llava_next", ("vision_feature_layer",), (-2,)),
    LlavaFamily("llava_next_video", ("vision_feature_layer",), (-2,)),
    LlavaFamily("llava_onevision", ("vision_feature_layer",), (-1,)),
    LlavaFamily("vipllava", ("vision_feature_layers", "vision_feature_layer"), (-2, -5, -8, -11, 6)),
)
# LLaVA's own code, which may leave its tower out; `config.json` names the CLIP then.
OWN_TOWER = "mm_vision_tower"
_OWN_FORMAT = LlavaFamily("LLaVA's own", ("mm_vision_select_layer",), (-2,))
# How the classes of models that write text are called.
_WRITES_TEXT = ("ForConditionalGeneration", "ForCausalLM")


def llava_family(config: Mapping[str, Any]) -> LlavaFamily | None:
    """The kind of a checkpoint with this `config.json`; None for any other model."""
    if OWN_TOWER in config:
        return _OWN_FORMAT
    return next((family for family in LLAVA_FAMILIES if family.model_type == config.get("model_type")), None)


def writes_text(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is of a model that writes text, so of no CLIP, whether it is a known kind or not."""
    named = config.get("architectures")
    classes = [str(name) for name in named] if isinstance(named, list) else []
    return llava_family(config) is not None or any(name.endswith(_WRITES_TEXT) for name in classes)
