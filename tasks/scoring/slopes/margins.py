"""The loss of the sign filter, and its gradient with respect to the scored encoder's embeddings."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

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


def slopes_of_both(members: BatchMembers) -> Tensor:
    """The gradients [pairs, 2, embedding] of the loss with respect to the own embeddings, safe before unsafe.

    As the loss is a sum over pairs, each has gradients of its own.
    """
    own = (members.own_safe.requires_grad_(), members.own_unsafe.requires_grad_())
    with torch.enable_grad():
        found = torch.autograd.grad(margin_loss(members), own)
    return torch.stack(found, dim=1)
