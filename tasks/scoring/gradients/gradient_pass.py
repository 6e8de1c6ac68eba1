"""One encoder's backward pass, piece by piece, as a fold of the pass over shards."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path

import torch
from torch import Tensor, nn

from data_specs.errors import DataError, SpecError
from data_specs.run_config import Encoder, Precision
from data_specs.schemas import pair_id
from tasks.encoders.forward import encode, forward_precision, memory_of
from tasks.encoders.loading import LoadedModel
from tasks.extraction.shard_pass import ShardPass
from tasks.lineage.progress import advance
from tasks.lineage.store import Build
from tasks.scoring.gradients.embedding_gradients import PairGradient
from tasks.scoring.gradients.sums import GradientSums
from tasks.shards.batch import Batch
from tasks.shards.plan import ShardPlan


class GradientFold:
    """Sums |dloss / dW| over batches of pairs, in memory that depends neither on their number nor on their size.

    A batch may reach across shards. What has been gathered stands in a file after each, so that a killed run goes on.
    `sums_of` says what becomes of a batch's gradient.
    """

    sums_of: type[GradientSums] = GradientSums

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
        """The model moves to `device`; `gradients` starts over from the first pair whenever it is called."""
        self._encoder, self._gradients, self._precision, self._device = encoder, gradients, precision, device
        self._model = loaded.model.to(device)
        self._weights = {name: layer.weight for name, layer in layers.items()}
        self._sums = self.sums_of(self._weights)
        self._n_pairs = self._n_batches = 0
        self._waiting: Iterator[PairGradient] = iter(())
        self._next_pair: PairGradient | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Pairs and batches so far."""
        return {"n_pairs": self._n_pairs, "n_batches": self._n_batches}

    def resume(self, counts: Mapping[str, int] | None, sums: Path) -> None:
        """Stand where `counts` and the file `sums` were written; None is the beginning."""
        self._n_pairs = self._n_batches = 0
        self._sums.clear()
        if counts is not None:
            self._n_pairs, self._n_batches = counts["n_pairs"], counts["n_batches"]
            self._sums.load(sums)
        self._waiting = islice(self._gradients(), self._n_pairs, None)
        self._next_pair = next(self._waiting, None)

    @contextmanager
    def shard(self, plan: ShardPlan, build: Build) -> Iterator[None]:
        """Track gradients for the shard's length, and write what is gathered."""
        with differentiable(self._model, self._weights.values()):
            yield
        self._sums.save(build.folder / sums_file(plan))

    def finish(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        """The scores [out, in] float32 by layer, and what they were taken over.

        Raises:
            DataError: no pair was used, or an embedded pair did not come up in the shards.
        """
        if self._next_pair is not None:
            raise DataError(
                f"pair {self._next_pair.pair_id} was embedded, but the shards no longer give it; leave shards as they are"
            )
        if self._n_pairs == 0:
            raise DataError("no pair with all four members is left to score; look at the tags and at the shards")
        self._sums.close_batch()
        return self._sums.scores(), self.counts

    def take(self, batch: Batch, plan: ShardPlan) -> None:
        """Add the gradients of a batch's pairs.

        Raises:
            SpecError: the loss does not reach a target layer.
        """
        for number, group in groupby(self._matched(batch, plan), key=lambda item: item[1].batch):
            piece = list(group)
            if number == self._n_batches:
                self._n_batches += 1
                if number:
                    self._sums.close_batch()
            gradients = torch.stack([pair.gradient for _, pair in piece])
            self._add(batch.inputs["safe"][[row for row, _ in piece]], gradients)
            self._n_pairs += len(piece)

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


def sums_file(plan: ShardPlan) -> str:
    """The name of the file of what was gathered up to the end of a shard."""
    return f"gradients-{plan.shard.sha256}.safetensors"


def sum_gradients(
    build: Build, fold: GradientFold, shard_pass: ShardPass, plans: Sequence[ShardPlan], stage: str
) -> None:
    """Go through all shards in order, since a batch may reach across them; each is a part of the build."""
    standing = False
    before: dict[str, int] | None = None
    sums = build.folder
    for index, plan in enumerate(plans):
        record = build.parts.record(_part(index))
        if record is None:
            if not standing:
                fold.resume(before, sums)
                standing = True
            shard_pass.run_shard(index, build)
            record = fold.counts
            build.parts.finish(_part(index), [build.folder / sums_file(plan)], record)
            if index:
                sums.unlink(missing_ok=True)
        else:
            advance(stage, len(plan.keys))
        before, sums = record, build.folder / sums_file(plan)
    if not standing and sums.is_file():
        fold.resume(before, sums)


def _part(index: int) -> str:
    return f"gradients-{index:06d}"


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
