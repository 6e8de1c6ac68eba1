"""One encoder's backward pass, piece by piece, as a fold of the pass over shards."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby

import torch
from torch import Tensor, nn

from data_specs.errors import DataError, SpecError
from data_specs.run_config import Content, Encoder, Precision
from data_specs.schemas import layer_folder, pair_id
from tasks.encoders.forward import encode, forward_precision, memory_of
from tasks.encoders.loading import LoadedModel
from tasks.lineage.store import Build
from tasks.scoring.gradients.embedding_gradients import PairGradient
from tasks.scoring.gradients.sums import GradientLayer, GradientSums
from tasks.scoring.gradients.windows import PairWindow
from tasks.scoring.joined.layer import SUMMED
from tasks.shards.batch import Batch
from tasks.shards.plan import ShardPlan


class GradientFold:
    """Sums dloss / dW over one shard's pairs, in memory that depends neither on their number nor on the size of a batch."""

    def __init__(
        self,
        loaded: LoadedModel,
        encoder: Encoder,
        layers: Mapping[str, nn.Linear],
        gradients: Callable[[PairWindow], Iterator[PairGradient]],
        windows: Mapping[str, PairWindow],
        *,
        contents: Sequence[Content],
        precision: Precision,
        device: torch.device,
    ) -> None:
        """The model moves to `device`.

        Args:
            loaded: the model.
            encoder: the scored one.
            layers: its target layers, by name.
            gradients: of the own pairs of a window, in order.
            windows: by the digest of a shard.
            contents: the sides that go through the encoder, in the order of a pair's gradients.
            precision: of the forward pass.
            device: where it runs.
        """
        self._encoder, self._gradients, self._precision, self._device = encoder, gradients, precision, device
        self._windows, self._contents = windows, contents
        self._model = loaded.model.to(device)
        self._weights = {name: layer.weight for name, layer in layers.items()}
        self._sums = GradientSums()
        self._batch = 0
        self._waiting: Iterator[PairGradient] = iter(())
        self._next_pair: PairGradient | None = None

    @contextmanager
    def shard(self, plan: ShardPlan, build: Build) -> Iterator[None]:
        """Track gradients for the shard's length, and write what its pairs come to.

        Raises:
            DataError: an embedded pair did not come up in the shard.
        """
        window = self._windows[plan.shard.sha256]
        self._batch, self._waiting = 0, self._gradients(window)
        self._next_pair = next(self._waiting, None)
        self._sums.begin(bounded=window.begins_batch)
        with differentiable(self._model, self._weights.values()):
            yield
        if self._next_pair is not None:
            raise DataError(
                f"pair {self._next_pair.pair_id} was embedded, but the shards no longer give it; leave shards as they are"
            )
        if window.ends_batch:
            self._sums.close_batch()
        layer = GradientLayer()
        for name in self._weights:
            state = self._sums.ended(name, len(window.own))
            layer.write(state, build.folder / layer_folder(self._encoder, name))
            build.counts[SUMMED] = layer.counts(state)
        self._sums.begin(bounded=False)

    def take(self, batch: Batch, plan: ShardPlan) -> None:
        """Add the gradients of a batch's pairs.

        Raises:
            SpecError: the loss does not reach a target layer.
        """
        for number, group in groupby(self._matched(batch, plan), key=lambda item: item[1].batch):
            piece = list(group)
            if number > self._batch:
                self._batch = number
                self._sums.close_batch()
            rows, gradients = [row for row, _ in piece], torch.stack([pair.gradient for _, pair in piece])
            for place, content in enumerate(self._contents):
                self._add(batch.inputs[content][rows], gradients[:, place].contiguous())

    def _matched(self, batch: Batch, plan: ShardPlan) -> list[tuple[int, PairGradient]]:
        """The next pairs that are waited for, with their rows in the batch."""
        found: list[tuple[int, PairGradient]] = []
        for row, key in enumerate(batch.keys):
            # A pair that lacks a member for the other encoder was not embedded, and is passed over.
            if self._next_pair is not None and self._next_pair.pair_id == pair_id(plan.shard.sha256, key):
                found.append((row, self._next_pair))
                self._next_pair = next(self._waiting, None)
        return found

    def _add(self, inputs: Tensor, gradients: Tensor) -> None:
        """Add dloss / dW of inputs, of whose embeddings the gradients are."""
        advice = f"set batch_size below {2 * len(inputs)}"
        with memory_of(self._device, advice), forward_precision(self._precision, self._device, gradients=True):
            inputs = inputs.to(self._device, non_blocking=True)
            self._sums.add(weight_gradients(self._model, self._encoder, self._weights, inputs, gradients))


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
