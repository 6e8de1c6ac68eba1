"""Where each model family keeps its target layers."""

import re
from dataclasses import dataclass

from data_specs.run_config import Encoder


@dataclass(frozen=True)
class Tower:
    """One encoder's stack of blocks in one family.

    `blocks` matches the dotted name of a block up to and including its number; the two
    suffixes complete it to the linear layer that ends the block's attention and its MLP.
    """

    family: str
    encoder: Encoder
    blocks: str
    attention_output: str
    mlp_output: str

    def pattern(self, layers: str) -> re.Pattern[str] | None:
        """A pattern for the layers that an alias names here, or None where it is no alias."""
        suffixes = {"attention_output": self.attention_output, "mlp_output": self.mlp_output}
        if layers not in suffixes:
            return None
        return re.compile(rf"^{self.blocks}\.{re.escape(suffixes[layers])}$")


# Pooling heads (`visual.attn_pool`, `visual.trunk.attn_pool`) and CoCa's `text_decoder` are left alone on purpose.
TOWERS: tuple[Tower, ...] = (
    Tower("open_clip", "vision", r"visual\.transformer\.resblocks\.\d+", "attn.out_proj", "mlp.c_proj"),
    Tower("open_clip", "text", r"(?:text\.)?transformer\.resblocks\.\d+", "attn.out_proj", "mlp.c_proj"),
    Tower("timm", "vision", r"visual\.trunk\.blocks\.\d+", "attn.proj", "mlp.fc2"),
)
VISION_PREFIX = "visual."
SHARED_PARAMETERS = frozenset({"logit_scale", "logit_bias"})
UNUSED_PREFIXES = ("text_decoder.",)


def encoder_of(name: str) -> Encoder | None:
    """Which encoder a parameter or layer belongs to; None for what neither encoder uses."""
    if name in SHARED_PARAMETERS or name.startswith(UNUSED_PREFIXES):
        return None
    return "vision" if name.startswith(VISION_PREFIX) else "text"
