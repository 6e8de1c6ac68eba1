"""The gradient of a loss with respect to the scored encoder's embeddings, batch by batch."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data_specs.run_config import Encoder
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.scoring.scorer import BatchMembers


@dataclass(frozen=True)
class PairGradient:
    """One pair: the number of its batch, and dloss / d(own safe embedding), [embedding]."""

    pair_id: str
    batch: int
    gradient: Tensor


def pair_gradients(
    shards: Iterable[EmbeddedPairs],
    encoder: Encoder,
    loss: Callable[[BatchMembers], Tensor],
    *,
    batch_pairs: int,
    wanted: Callable[[str, str | None], bool],
    device: torch.device,
) -> Iterator[PairGradient]:
    """Go through pairs in order; a batch is so many consecutive ones, also across shards, the last what is left.

    A loss over a whole batch needs all its embeddings at once, but the encoder's backward pass
    does not: with this gradient it can go through the batch in pieces (gradient caching).

    Source: Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup.

    Args:
        shards: unit-norm embeddings of both encoders.
        encoder: the scored one.
        loss: a mean over the pairs of a batch.
        batch_pairs: pairs in a batch.
        wanted: whether a pair is used, by its id and tag.
        device: where the loss is computed.

    Yields:
        Every used pair.
    """
    for number, (pair_ids, members) in enumerate(_batches(shards, encoder, batch_pairs, wanted)):
        own_safe, *others = (member.to(device) for member in members)
        with torch.enable_grad():
            own_safe.requires_grad_()
            (gradient,) = torch.autograd.grad(loss(BatchMembers(own_safe, *others)), own_safe)
        for pair_id, row in zip(pair_ids, gradient, strict=True):
            yield PairGradient(pair_id, number, row)


def _batches(
    shards: Iterable[EmbeddedPairs], encoder: Encoder, batch_pairs: int, wanted: Callable[[str, str | None], bool]
) -> Iterator[tuple[list[str], list[Tensor]]]:
    ids: list[str] = []
    waiting: list[Tensor] = []
    for pairs in shards:
        more, found = own_first(pairs, encoder, wanted)
        ids += more
        waiting = [torch.cat(both) for both in zip(waiting, found, strict=True)] if waiting else found
        while len(ids) >= batch_pairs:
            yield ids[:batch_pairs], [member[:batch_pairs].clone() for member in waiting]
            ids, waiting = ids[batch_pairs:], [member[batch_pairs:] for member in waiting]
    if ids:
        yield ids, [member.clone() for member in waiting]


def own_first(
    pairs: EmbeddedPairs, encoder: Encoder, wanted: Callable[[str, str | None], bool]
) -> tuple[list[str], list[Tensor]]:
    """The ids of the pairs that are used, and their embeddings [pairs, embedding] in the order of `BatchMembers`."""
    kept = [row for row, pair in enumerate(zip(pairs.pair_ids, pairs.tags, strict=True)) if wanted(*pair)]
    text, vision = [pairs.text_safe, pairs.text_unsafe], [pairs.vision_safe, pairs.vision_unsafe]
    members = [*text, *vision] if encoder == "text" else [*vision, *text]
    return [pairs.pair_ids[row] for row in kept], [member[kept] for member in members]
