"""The backward pass through both members of each pair, as a fold that goes on where it was killed."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from data_specs.run_config import CONTENTS, Encoder, Precision
from data_specs.schemas import pair_id
from tasks.encoders.forward import forward_precision
from tasks.encoders.loading import LoadedModel
from tasks.scoring.gradients.embedding_gradients import PairGradient
from tasks.scoring.gradients.gradient_pass import GradientFold, weight_gradients
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
    """Sums dL / dW over pairs; of each pair both members go through the encoder."""

    def __init__(
        self,
        loaded: LoadedModel,
        encoder: Encoder,
        layers: Mapping[str, nn.Linear],
        gradients: Callable[[], Iterator[PairGradient]],
        *,
        precision: Precision,
        device: torch.device,
    ) -> None:
        """As a gradient scorer's; a gradient is [2, embedding], safe before unsafe."""
        super().__init__(loaded, encoder, layers, gradients, precision=precision, device=device)
        self._sums = SignedSums(self._weights)

    def take(self, batch: Batch, plan: ShardPlan) -> None:
        """Add the slopes of a batch's pairs.

        Raises:
            SpecError: the loss does not reach a target layer.
        """
        rows: list[int] = []
        found: list[torch.Tensor] = []
        for row, key in enumerate(batch.keys):
            # A pair that lacks a member for the other encoder was not embedded, and is passed over.
            if self._next_pair is not None and self._next_pair.pair_id == pair_id(plan.shard.sha256, key):
                rows.append(row)
                found.append(self._next_pair.gradient)
                self._next_pair = next(self._waiting, None)
        if not rows:
            return
        gradients = torch.stack(found)
        for place, content in enumerate(CONTENTS):
            inputs = batch.inputs[content][rows].to(self._device, non_blocking=True)
            with forward_precision(self._precision, self._device, gradients=True):
                self._sums.add(
                    weight_gradients(
                        self._model, self._encoder, self._weights, inputs, gradients[:, place].contiguous()
                    )
                )
        self._n_pairs += len(rows)
