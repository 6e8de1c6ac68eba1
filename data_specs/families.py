"""Where each model family keeps its target layers."""

from dataclasses import dataclass
from typing import Literal, get_args

from data_specs.run_config import Encoder

LayerAlias = Literal["attention_output", "mlp_output"]
ALIASES: tuple[LayerAlias, ...] = get_args(LayerAlias)


@dataclass(frozen=True)
class Tower:
    """One encoder's stack of blocks in one family.

    `blocks` is the dotted name of the stack, whose children are numbered; the two suffixes
    complete a block's name to the linear layer that ends its attention and its MLP.
    """

    family: str
    encoder: Encoder
    blocks: str
    attention_output: str
    mlp_output: str

    def is_block(self, name: str) -> bool:
        """Whether a module of this dotted name is one of the tower's blocks."""
        stack, _, number = name.rpartition(".")
        return stack == self.blocks and number.isdecimal()

    def layer(self, block: str, alias: LayerAlias) -> str:
        """The dotted name of the layer that an alias means in one block."""
        return f"{block}.{self.attention_output if alias == 'attention_output' else self.mlp_output}"


# Pooling heads (`visual.attn_pool`, `visual.trunk.attn_pool`) and CoCa's `text_decoder` are left alone on purpose.
TOWERS: tuple[Tower, ...] = (
    Tower("open_clip", "vision", "visual.transformer.resblocks", "attn.out_proj", "mlp.c_proj"),
    Tower("timm", "vision", "visual.trunk.blocks", "attn.proj", "mlp.fc2"),
    Tower("open_clip", "text", "transformer.resblocks", "attn.out_proj", "mlp.c_proj"),
    # The text tower of SigLIP and CoCa, which is a module of its own.
    Tower("open_clip text.", "text", "text.transformer.resblocks", "attn.out_proj", "mlp.c_proj"),
)
VISION_PREFIX = "visual."
SHARED_PARAMETERS = frozenset({"logit_scale", "logit_bias"})
UNUSED_PREFIXES = ("text_decoder.",)


def encoder_of(name: str) -> Encoder | None:
    """Which encoder a parameter or layer belongs to; None for what neither encoder uses."""
    if name in SHARED_PARAMETERS or name.startswith(UNUSED_PREFIXES):
        return None
    return "vision" if name.startswith(VISION_PREFIX) else "text"
