"""`model.llava`: the vision tower of a LLaVA as the model, in place of a CLIP."""

from typing import Any

from data_specs.errors import SpecError

LLAVA = "llava"  # stands for the architecture where `model.llava` names it
LLAVA_FIELD = (
    "folder or hf-hub:ORG/NAME of a LLaVA whose vision tower is the model, in place of architecture and weights"
)
_OF_A_CLIP = ("architecture", "weights", "tokenizer", "quick_gelu")


def with_llava_alone(data: Any) -> Any:
    """Settings of a model, in which a LLaVA stands for all others.

    Raises:
        ValueError: others are given beside it.
    """
    if not isinstance(data, dict) or data.get("llava") is None:
        return data
    others = [
        name for name in _OF_A_CLIP if data.get(name) is not None and (name, data[name]) != (_OF_A_CLIP[0], LLAVA)
    ]
    if others:
        raise ValueError(f"llava names a model with all that belongs to it; remove {', '.join(others)}")
    return {**data, "architecture": LLAVA}


def require_of_a_tower(where: str, encoder: str, compares: str | None) -> None:
    """Refuse settings of an encoder that a LLaVA's tower cannot follow.

    Args:
        where: the encoder's settings, for the error.
        encoder: text or vision.
        compares: the setting that compares pictures with texts, None where none does.

    Raises:
        ValueError: a text encoder is edited or needed.
    """
    if encoder == "text":
        raise ValueError(f"model.llava has no text encoder of CLIP's that could be edited; set {where}: null")
    if compares is not None:
        raise ValueError(
            f"{where}.{compares} compares pictures with texts, but model.llava has no text encoder of CLIP's; take scorer: uwm"
            " and sign: none, or edit the CLIP that the LLaVA was built around"
        )


def require_evaluable(llava: str | None) -> None:
    """Refuse to measure a tower that has no text encoder.

    Raises:
        SpecError: the model is a LLaVA's tower.
    """
    if llava is not None:
        raise SpecError(
            "model.llava has no text encoder, so that SafeGround and zero-shot accuracy cannot be measured; `uwm edit make"
            " CONFIG.yaml` scores and edits its tower, and `uwm edit apply` puts the edit into the LLaVA"
        )
