"""How the vision encoder of a LLaVA is called in a checkpoint, in a CLIPModel, and in open_clip."""

import re
from collections.abc import Mapping

from torch import Tensor

from tasks.encoders.transformers_format import linear_in_transformers, to_transformers

# Of transformers 4 and 5, as files and as modules in memory, and of LLaVA's own code.
_TOWER = re.compile(r"^(?:model\.)?vision_tower\.(?:vision_tower\.)?(?:vision_model\.)?(.+)$")
THEIR_TOWER = "vision_model."
_OUR_TOWER = "visual."
_BLOCK = re.compile(r"^encoder\.layers\.(\d+)\.")
# What no hidden state goes through: a LLaVA has no projection into CLIP's space, and reads before the last norm.
_UNUSED = frozenset({"visual.proj", "visual.ln_post.weight", "visual.ln_post.bias"})
# SigLIP's tower as timm calls it, which fuses queries, keys and values.
_TIMM_BLOCK = re.compile(r"^visual\.trunk\.blocks\.(\d+)\.(.+)\.(weight|bias)$")
_IN_TIMM_BLOCK = {
    "attn.proj": "self_attn.out_proj",
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_TIMM_FUSED, _PARTS = "attn.qkv", ("q", "k", "v")


def in_tower(name: str) -> str | None:
    """A tensor's name within the tower, such as `encoder.layers.0.mlp.fc2.weight`; None for one of another part."""
    match = _TOWER.match(name)
    return match[1] if match else None


def block_of(inner: str) -> int | None:
    """The number of the block that a name within the tower is of."""
    match = _BLOCK.match(inner)
    return int(match[1]) if match else None


def is_used(inner: str) -> bool:
    """Whether a tensor of this name within the tower decides a hidden state."""
    return not inner.startswith(("post_layernorm.", "head.")) and inner != "embeddings.position_ids"


def layer_in_tower(layer: str) -> str | None:
    """The name within the tower of the weight of the layer that open_clip calls so; None where it has none."""
    match = _TIMM_BLOCK.match(f"{layer}.weight")
    if match:
        theirs = _IN_TIMM_BLOCK.get(match[2])
        return f"encoder.layers.{match[1]}.{theirs}.weight" if theirs else None
    name = linear_in_transformers(layer)
    return f"{name.removeprefix(THEIR_TOWER)}.weight" if name and name.startswith(THEIR_TOWER) else None


def as_in_tower(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a model's vision encoder under their names within a tower; without those that a LLaVA has no use for.

    Args:
        state: of an open_clip model; of SigLIP's family only the blocks are taken.
    """
    clip = {
        name: value
        for name, value in state.items()
        if name.startswith(_OUR_TOWER) and name not in _UNUSED and not name.startswith("visual.trunk.")
    }
    found = {name.removeprefix(THEIR_TOWER): value for name, value in to_transformers(clip).items()}
    for name, value in state.items():
        match = _TIMM_BLOCK.match(name)
        if match and match[2] in _IN_TIMM_BLOCK:
            found[f"encoder.layers.{match[1]}.{_IN_TIMM_BLOCK[match[2]]}.{match[3]}"] = value
        elif match and match[2] == _TIMM_FUSED:
            for part, rows in zip(_PARTS, value.chunk(len(_PARTS)), strict=True):
                found[f"encoder.layers.{match[1]}.self_attn.{part}_proj.{match[3]}"] = rows
    return found
