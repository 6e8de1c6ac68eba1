"""The gradient of a loss with respect to the scored encoder's embeddings, batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch
from torch import Tensor

from data_specs.run_config import Encoder
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.extraction.rows import SHARD_DIGEST_CHARS
from tasks.scoring.gradients.windows import PairWindow
from tasks.scoring.scorer import BatchMembers

# dloss / d(own embeddings) [pairs, sides, embedding] of a whole batch: of the safe side, or of both, safe before unsafe.
OwnGradients = Callable[[BatchMembers], Tensor]
# One shard is read once for the batches within it, and once more for a batch that began in the one before.
_SHARDS_KEPT = 2


@dataclass(frozen=True)
class PairGradient:
    """One pair: the number of its batch in its window, and dloss / d(own embeddings), [sides, embedding]."""

    pair_id: str
    batch: int
    gradient: Tensor


def gradients_of_safe(loss: Callable[[BatchMembers], Tensor]) -> OwnGradients:
    """The gradients of a loss, a scalar, with respect to the own safe embeddings."""

    def gradients(members: BatchMembers) -> Tensor:
        own = members.own_safe.requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(loss(members), own)
        return found[:, None]

    return gradients


class BatchGradients:
    """Gradients of pairs whose embeddings are stored.

    A loss over a whole batch needs all its embeddings at once, but the encoder's backward pass
    does not: with these gradients it can go through the batch in pieces (gradient caching).

    Source: Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup.
    """

    def __init__(
        self,
        read: Callable[[str], EmbeddedPairs],
        encoder: Encoder,
        own_gradients: OwnGradients,
        device: torch.device,
    ) -> None:
        """Compute on `device`.

        Args:
            read: unit-norm embeddings of both encoders, by the beginning of a shard's digest.
            encoder: the scored one.
            own_gradients: of a batch.
            device: where they are computed.
        """
        self._read = lru_cache(_SHARDS_KEPT)(read)
        # The last batch of a shard is often the first of the next one.
        self._of_batch = lru_cache(1)(self._compute)
        self._encoder, self._own_gradients, self._device = encoder, own_gradients, device

    def of(self, window: PairWindow) -> Iterator[PairGradient]:
        """Every own pair of a window, in order."""
        for number, (pair_ids, own) in enumerate(window.batches()):
            if own:
                places = {name: place for place, name in enumerate(pair_ids)}
                gradients = self._of_batch(pair_ids)
                for name in own:
                    yield PairGradient(name, number, gradients[places[name]])

    def _compute(self, pair_ids: tuple[str, ...]) -> Tensor:
        found = [self._members([*ids], shard) for shard, ids in groupby(pair_ids, key=_shard_of)]
        members = [torch.cat(each).to(self._device) for each in zip(*found, strict=True)]
        return self._own_gradients(BatchMembers(*members))

    def _members(self, pair_ids: Sequence[str], shard: str) -> list[Tensor]:
        """The embeddings [pairs, embedding] of some pairs of a shard, in the order of `BatchMembers`."""
        pairs = self._read(shard)
        places = {name: row for row, name in enumerate(pairs.pair_ids)}
        rows = [places[name] for name in pair_ids]
        text, vision = [pairs.text_safe, pairs.text_unsafe], [pairs.vision_safe, pairs.vision_unsafe]
        members = [*text, *vision] if self._encoder == "text" else [*vision, *text]
        return [member[rows] for member in members]


def _shard_of(pair_id: str) -> str:
    return pair_id[:SHARD_DIGEST_CHARS]
