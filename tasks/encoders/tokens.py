"""Which tokens of a text count."""

from typing import Any

import torch
from torch import Tensor, nn


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
    pool_type = getattr(text, "pool_type", None) or getattr(model, "text_pool_type", "argmax")
    positions = torch.arange(token_ids.shape[1], device=token_ids.device)
    if getattr(text, "cls_emb", None) is not None:
        valid = token_ids.ne(text.pad_id)
        return torch.cat([valid, torch.ones_like(valid[:, :1])], dim=1)
    hub_padding: int | None = getattr(getattr(text, "config", None), "pad_token_id", None)
    if hub_padding is not None:
        # A Hugging Face tower: its largest token id is any word, not the end of the text.
        valid = token_ids.ne(hub_padding)
        return valid
    if pool_type == "argmax":
        valid = positions <= token_ids.argmax(dim=1, keepdim=True)
        return valid
    if pool_type == "eos":
        eos_id: Any = getattr(text, "eos_id", None) or getattr(model, "text_eos_id", None)
        is_end: Tensor = token_ids.eq(eos_id)
        valid = positions <= is_end.int().argmax(dim=1, keepdim=True)
        return valid
    valid = token_ids.ne(getattr(text, "pad_id", 0))
    return valid
