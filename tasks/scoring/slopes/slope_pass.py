"""The backward pass through both members of each pair, as a fold that goes on where it was killed."""

import torch

from data_specs.run_config import CONTENTS
from tasks.scoring.gradients.gradient_pass import GradientFold
from tasks.scoring.gradients.sums import GradientSums
from tasks.shards.batch import Batch
from tasks.shards.plan import ShardPlan


class SignedSums(GradientSums):
    """A sum that keeps its sign; all pairs are one batch, as the loss does not look across pairs."""

    def close_batch(self) -> None:
        """Add what was gathered, sign and all."""
        for name, part in self._part.items():
            self._sums[name] += part
            part.zero_()


class SlopeFold(GradientFold):
    """Sums dL / dW over pairs; of each pair both members go through the encoder.

    A pair's gradient is [2, embedding], safe before unsafe.
    """

    sums_of = SignedSums

    def take(self, batch: Batch, plan: ShardPlan) -> None:
        """Add the slopes of a batch's pairs.

        Raises:
            SpecError: the loss does not reach a target layer.
        """
        found = self._matched(batch, plan)
        if not found:
            return
        rows = [row for row, _ in found]
        gradients = torch.stack([pair.gradient for _, pair in found])
        for place, content in enumerate(CONTENTS):
            self._add(batch.inputs[content][rows], gradients[:, place].contiguous())
        self._n_pairs += len(found)
