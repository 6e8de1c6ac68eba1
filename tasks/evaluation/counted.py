"""The part of a set that an evaluation counts."""

from itertools import compress

import torch

from data_specs.choosing import ALL, Span, too_few, within
from data_specs.errors import DataError
from tasks.embeddings.pairs import EmbeddedPairs


def pairs_within(pairs: EmbeddedPairs, span: Span) -> EmbeddedPairs:
    """The pairs whose ids lie in a span, in their order.

    Raises:
        DataError: there is none.
    """
    if span == ALL:
        return pairs
    kept = within(pairs.pair_ids, span)
    if not any(kept):
        raise DataError(f"evaluation pairs: {too_few(span)}")
    rows = torch.tensor(kept)
    return EmbeddedPairs(
        list(compress(pairs.pair_ids, kept)),
        list(compress(pairs.tags, kept)),
        pairs.text_safe[rows],
        pairs.text_unsafe[rows],
        pairs.vision_safe[rows],
        pairs.vision_unsafe[rows],
    )
