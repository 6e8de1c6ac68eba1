"""Gradient-unsafe: which weights move a safe query from its unsafe to its safe counterpart."""

from torch import Tensor

from tasks.scoring.scorer import BatchMembers, GradientScorer


def preference_loss(batch: BatchMembers) -> Tensor:
    """Mean over pairs of cos(own safe, other safe) - cos(own safe, other unsafe); -2 to 2.

    Source: UWM paper, baseline G-Unsafe.
    """
    return (batch.own_safe * (batch.other_safe - batch.other_unsafe)).sum(dim=1).mean()


GRADIENT_UNSAFE = GradientScorer(preference_loss)
