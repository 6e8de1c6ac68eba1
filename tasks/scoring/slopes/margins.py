"""The loss of the sign filter, and its gradient with respect to the scored encoder's embeddings."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import softplus

from data_specs.run_config import Encoder
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.scoring.gradients.embedding_gradients import PairGradient, own_first
from tasks.scoring.scorer import BatchMembers

TEMPERATURE = 0.05


def margin_loss(members: BatchMembers) -> Tensor:
    """Sum over pairs and over their four margins m of softplus(-m / T): a smooth count of the choices that are unsafe.

    With s(text, image) the cosine, the text's side first, the margins are ss - su, ss - us, us - uu
    and su - uu, one for each preference of SafeGround. Together they are the same from either encoder's side.

    Args:
        members: unit-norm embeddings, each [pairs, embedding].

    Returns:
        A scalar, at least 0; a pair whose four cosines are equal adds 4 ln 2.
    """
    own, other = (members.own_safe, members.own_unsafe), (members.other_safe, members.other_unsafe)
    (ss, su), (us, uu) = [[(mine * theirs).sum(dim=1) for theirs in other] for mine in own]
    margins = torch.stack([ss - su, ss - us, us - uu, su - uu])
    return softplus(-margins / TEMPERATURE).sum()


def pair_slopes(
    shards: Iterable[EmbeddedPairs],
    encoder: Encoder,
    *,
    wanted: Callable[[str, str | None], bool],
    device: torch.device,
) -> Iterator[PairGradient]:
    """Go through pairs in order; as the loss is a sum over pairs, each has a gradient of its own.

    Args:
        shards: unit-norm embeddings of both encoders.
        encoder: the scored one.
        wanted: whether a pair is used, by its id and tag.
        device: where the loss is computed.

    Yields:
        Every used pair, its gradient [2, embedding]: of the safe member, then of the unsafe one.
    """
    for pairs in shards:
        pair_ids, members = own_first(pairs, encoder, wanted)
        if not pair_ids:
            continue
        own_safe, own_unsafe, *others = (member.to(device) for member in members)
        own = [own_safe.requires_grad_(), own_unsafe.requires_grad_()]
        with torch.enable_grad():
            found = torch.autograd.grad(margin_loss(BatchMembers(*own, *others)), own)
        for name, gradient in zip(pair_ids, torch.stack(found, dim=1), strict=True):
            yield PairGradient(name, 0, gradient)
