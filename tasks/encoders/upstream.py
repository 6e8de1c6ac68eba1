"""What the inputs of some layers depend on: of a model with more blocks, or another head, it may be the same."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from data_specs.families import TOWERS, Tower

# Behind the last block. A pooling head has other names, and counts as if the blocks depended on it.
_BEHIND = frozenset({"visual.proj", "visual.ln_post.weight", "visual.ln_post.bias"})
_SET_BY_THE_MODEL = "size"  # of pictures, whatever the preprocessing says


def upstream_of(
    layers: Collection[str], model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any], tensors: Mapping[str, str]
) -> dict[str, Any] | None:
    """All that decides the inputs of some layers of a vision encoder, beside its pictures and how it is run.

    Args:
        layers: by dotted name.
        model_cfg: of the model, as `Architecture.of` gives it.
        preprocess_cfg: likewise.
        tensors: digests of the encoder's tensors by name.

    Returns:
        Settings with their defaults, and digests, of the blocks up to the last one of which a layer is; equal for two
        models exactly where it is. None of towers other than open_clip's own, and of layers outside its blocks.
    """
    tower = next(each for each in TOWERS if each.encoder == "vision")
    blocks = [_block_of(tower, layer) for layer in layers]
    vision = model_cfg.get("vision_cfg", {})
    if not blocks or None in blocks or vision.get("timm_model_name"):
        return None
    last = max(block for block in blocks if block is not None)
    return {
        "model": {"quick_gelu": False, **{name: value for name, value in model_cfg.items() if name not in _OF_ALL}},
        "vision": _vision(vision),
        "pictures": _pictures(preprocess_cfg),
        "tensors": {
            name: digest
            for name, digest in tensors.items()
            if name not in _BEHIND and (_block_of(tower, name) or 0) <= last
        },
    }


_OF_ALL = ("embed_dim", "vision_cfg")  # the projection's width, and what is looked at by itself


def _block_of(tower: Tower, name: str) -> int | None:
    number = name.removeprefix(f"{tower.blocks}.").partition(".")[0] if name.startswith(f"{tower.blocks}.") else ""
    return int(number) if number.isdecimal() else None


def _vision(given: Mapping[str, Any]) -> dict[str, Any]:
    from open_clip.model import CLIPVisionCfg

    asked = asdict(CLIPVisionCfg()) | dict(given)
    asked.pop("layers")  # of the blocks that count there are tensors
    return asked


def _pictures(given: Mapping[str, Any]) -> dict[str, Any]:
    from open_clip.transform import PreprocessCfg

    asked = asdict(PreprocessCfg()) | dict(given)
    asked.pop(_SET_BY_THE_MODEL)
    return {name: [*value] if isinstance(value, tuple) else value for name, value in asked.items()}
