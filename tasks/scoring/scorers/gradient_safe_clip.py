"""Gradient-Safe-CLIP: which weights Safe-CLIP's fine-tuning would change first."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tasks.scoring.scorer import BatchMembers, GradientScorer

LOGIT_SCALE = 100.0


def redirection_loss(batch: BatchMembers) -> Tensor:
    """Symmetric InfoNCE of unsafe queries with safe answers, plus the distance of a pair's own members.

    Source: UWM paper, baseline G-Safe-CLIP, after the loss of Safe-CLIP (Poppi et al., ECCV 2024).
    """
    logits = LOGIT_SCALE * batch.other_unsafe @ batch.own_safe.T
    right = torch.arange(len(logits), device=logits.device)
    contrast = (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2
    return contrast + (1 - (batch.own_safe * batch.own_unsafe).sum(dim=1)).mean()


GRADIENT_SAFE_CLIP = GradientScorer(redirection_loss)
