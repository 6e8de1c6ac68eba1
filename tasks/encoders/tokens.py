"""Which tokens of a text count."""

from typing import Any

import torch
from torch import Tensor, nn

PADDING_ID = "padding_id"


def valid_text_tokens(model: nn.Module, token_ids: Tensor) -> Tensor:
    """Tokens up to and including end-of-text; without such a token, those that are not padding.

    Source: design of the paper's released code, which drops padding before it takes statistics.

    Args:
        model: an open_clip model.
        token_ids: [n, context] int64.

    Returns:
        [n, tokens] bool, True is valid; one column more than `token_ids` where the model appends
        a class token, which counts.
    """
    text: Any = getattr(model, "text", model)
    valid: Tensor
    if getattr(text, "cls_emb", None) is not None:
        valid = token_ids.ne(_padding_id(model, text))
        return torch.cat([valid, torch.ones_like(valid[:, :1])], dim=1)
    pool_type = getattr(text, "pool_type", None) or getattr(model, "text_pool_type", "argmax")
    positions = torch.arange(token_ids.shape[1], device=token_ids.device)
    # A Hugging Face tower has no such pooling: its largest token id is any word, not the end of the text.
    if pool_type == "argmax" and _hub_padding(text) is None:
        valid = positions <= token_ids.argmax(dim=1, keepdim=True)
        return valid
    if pool_type == "eos":
        eos_id: Any = getattr(text, "eos_id", None) or getattr(model, "text_eos_id", None)
        is_end: Tensor = token_ids.eq(eos_id)
        valid = positions <= is_end.int().argmax(dim=1, keepdim=True)
        return valid
    valid = token_ids.ne(_padding_id(model, text))
    return valid


def _padding_id(model: nn.Module, text: Any) -> int:
    # What the tokenizer pads with comes first: published SigLIP configs leave the tower's `pad_id` at 0, which only a
    # CoCa's attention mask reads, while SigLIP's tokenizer pads with 1 and SigLIP 2's with 0.
    for known in (getattr(model, PADDING_ID, None), _hub_padding(text), getattr(text, "pad_id", None)):
        if known is not None:
            return int(known)
    return 0


def _hub_padding(text: Any) -> int | None:
    padding: int | None = getattr(getattr(text, "config", None), "pad_token_id", None)
    return padding
