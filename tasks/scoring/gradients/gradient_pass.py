"""One encoder's backward pass over planned shards, piece by piece."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data_specs.errors import DataError, SpecError
from data_specs.run_config import Encoder, Precision
from data_specs.schemas import pair_id
from tasks.encoders.forward import encode, forward_precision
from tasks.encoders.loading import LoadedModel
from tasks.extraction.shard_pass import input_stream
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import advance
from tasks.lineage.store import Build
from tasks.scoring.gradients.embedding_gradients import PairGradient
from tasks.scoring.gradients.sums import GradientSums
from tasks.shards.batch import Batch
from tasks.shards.plan import ShardPlan


class GradientPass:
    """Sums |dloss / dW| over batches of pairs, shard by shard, in memory that depends on neither.

    After each shard the sums are on disk, so a killed run goes on at the next one.
    """

    def __init__(
        self,
        build: Build,
        loaded: LoadedModel,
        encoder: Encoder,
        layers: Mapping[str, nn.Linear],
        plans: Sequence[ShardPlan],
        gradients: Callable[[], Iterator[PairGradient]],
        *,
        stage: str,
        precision: Precision,
        batch_size: int,
        context: RunContext,
    ) -> None:
        """Prepare a pass; `gradients` starts over from the first pair whenever it is called."""
        self._build, self._encoder, self._plans, self._gradients = build, encoder, list(plans), gradients
        self._stage, self._precision = stage, precision
        self._device = torch.device(context.device)
        self._model = loaded.model.to(self._device)
        self._weights = {name: layer.weight for name, layer in layers.items()}
        self._sums = GradientSums(self._weights)
        self._stream = input_stream(loaded, encoder, plans, batch_size=batch_size, context=context, side="safe")
        self._at = -1  # the shard that the sums and the waiting pairs stand before
        self._n_pairs = self._n_batches = 0
        self._waiting: Iterator[PairGradient] = iter(())
        self._next_pair: PairGradient | None = None

    def run_shard(self, index: int) -> None:
        """Go through one shard, or find it done.

        Raises:
            SpecError: the loss does not reach a target layer.
        """
        if self._build.parts.record(_part(index)) is not None:
            advance(self._stage, len(self._plans[index].keys))
            return
        if self._at != index:
            self._restore(index)
        self._at = -1
        with differentiable(self._model, self._weights.values()):
            for batch in self._stream.batches(index):
                self._take(batch, self._plans[index])
                advance(self._stage, len(batch.keys) + len(batch.bad))
        state = self._state(index)
        self._sums.save(state)
        record = {"n_pairs": self._n_pairs, "n_batches": self._n_batches}
        self._build.parts.finish(_part(index), [state], record)
        if index:
            self._state(index - 1).unlink(missing_ok=True)
        self._at = index + 1

    def finish(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The scores [out, in] float32 by layer, and what they were taken over.

        Raises:
            DataError: no pair was used, or an embedded pair did not come up in the shards.
        """
        if self._at != len(self._plans):
            self._restore(len(self._plans))
        if self._next_pair is not None:
            raise DataError(
                f"pair {self._next_pair.pair_id} was embedded, but the shards no longer give it; leave shards as they are"
            )
        if self._n_pairs == 0:
            raise DataError("no pair with all four members is left to score; look at the tags and at the shards")
        self._sums.close_batch()
        return self._sums.scores(), {"n_pairs": self._n_pairs, "n_batches": self._n_batches}

    def forget(self) -> None:
        """Remove the sums from disk, once every score is written; also older ones that a killed process left."""
        for index in range(len(self._plans)):
            self._state(index).unlink(missing_ok=True)

    def _restore(self, index: int) -> None:
        self._n_pairs = self._n_batches = 0
        self._sums.clear()
        if index:
            record = self._build.parts.record(_part(index - 1)) or {}
            self._n_pairs, self._n_batches = record["n_pairs"], record["n_batches"]
            self._sums.load(self._state(index - 1))
        self._waiting = islice(self._gradients(), self._n_pairs, None)
        self._next_pair = next(self._waiting, None)
        self._at = index

    def _take(self, batch: Batch, plan: ShardPlan) -> None:
        used: list[tuple[int, PairGradient]] = []
        for row, key in enumerate(batch.keys):
            # A pair that lacks a member for the other encoder was not embedded, and is passed over.
            if self._next_pair is not None and self._next_pair.pair_id == pair_id(plan.shard.sha256, key):
                used.append((row, self._next_pair))
                self._next_pair = next(self._waiting, None)
        for number, group in groupby(used, key=lambda item: item[1].batch):
            piece = list(group)
            if number == self._n_batches:
                self._n_batches += 1
                if number:
                    self._sums.close_batch()
            inputs = batch.inputs["safe"][[row for row, _ in piece]].to(self._device, non_blocking=True)
            gradients = torch.stack([pair.gradient for _, pair in piece])
            with forward_precision(self._precision, self._device, gradients=True):
                self._sums.add(weight_gradients(self._model, self._encoder, self._weights, inputs, gradients))
            self._n_pairs += len(piece)

    def _state(self, index: int) -> Path:
        return self._build.folder / f"{_part(index)}.safetensors"


def weight_gradients(
    model: nn.Module, encoder: Encoder, weights: Mapping[str, Tensor], inputs: Tensor, gradients: Tensor
) -> dict[str, Tensor]:
    """dloss / dW of some layers from dloss / d(embedding), by one forward and one backward pass.

    Args:
        model: an open_clip model.
        encoder: which tower.
        weights: the model's own weights [out, in] by layer name; they must track gradients.
        inputs: [n, 3, height, width] images or [n, context] token ids.
        gradients: [n, embedding], with respect to the unit-norm embeddings of `inputs`.

    Returns:
        [out, in] by layer name, summed over inputs.

    Raises:
        SpecError: the embedding does not depend on a layer.
    """
    embeddings = encode(model, encoder, inputs)
    found: Sequence[Tensor | None] = [None] * len(weights)
    if embeddings.requires_grad:
        # Backward operations take the precision of their forward ones.
        with torch.autocast(inputs.device.type, enabled=False):
            found = torch.autograd.grad(embeddings, [*weights.values()], gradients, allow_unused=True)
    reached = {}
    for name, gradient in zip(weights, found, strict=True):
        if gradient is None:
            raise SpecError(f"{encoder}.layers: the embedding does not depend on layer {name}; choose other layers")
        reached[name] = gradient
    return reached


def _part(index: int) -> str:
    return f"gradients-{index:06d}"


@contextmanager
def differentiable(model: nn.Module, weights: Iterable[Tensor]) -> Iterator[None]:
    """Track gradients for some weights of a model and for nothing else, then leave it as it was."""
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(requires_grad=False)
    try:
        for weight in weights:
            weight.requires_grad_()
        yield
    finally:
        for parameter, tracked in before.items():
            parameter.requires_grad_(tracked)
