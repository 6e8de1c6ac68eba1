"""One pass over planned shards; what becomes of each batch is the fold's choice."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from data_specs.run_config import Content, Decoder, Encoder
from tasks.encoders.loading import LoadedModel
from tasks.encoders.pixels import PixelTransform
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import advance
from tasks.lineage.store import Build
from tasks.shards.batch import Batch
from tasks.shards.plan import BadSample, ShardPlan, Tally, planned_samples
from tasks.shards.reading import BatchStream


class Fold(Protocol):
    """What becomes of a shard's batches: rows in files, or sums."""

    def shard(self, plan: ShardPlan, build: Build) -> AbstractContextManager[None]:
        """Frame one shard; what it leaves is in the build's folder when that ends well."""

    def take(self, batch: Batch, plan: ShardPlan) -> None:
        """Take the next samples of the shard, one or more."""


@dataclass(frozen=True)
class ShardCounts:
    """Samples of one shard that were used, and those that were skipped."""

    used: int
    bad: tuple[BadSample, ...]


class Batches(Protocol):
    """Decoded samples of planned shards."""

    def batches(self, plan_index: int) -> Iterator[Batch]:
        """All batches of one shard, in order."""


class ShardPass:
    """Reads shards and hands them to a fold, batch by batch; batches never reach across shards."""

    def __init__(
        self,
        stream: Batches,
        plans: Sequence[ShardPlan],
        fold: Fold,
        *,
        stage: str,
        max_bad_fraction: float,
        n_planned: int | None = None,
    ) -> None:
        """Prepare a pass over `plans`, which `stream` reads; `n_planned` counts the samples of the set that they are of.

        Raises:
            DataError: more samples are bad for their place in the tar than is allowed.
        """
        self._stream, self._plans, self._fold, self._stage = stream, list(plans), fold, stage
        self._n_planned = planned_samples(plans) if n_planned is None else n_planned
        self._max_bad_fraction = max_bad_fraction
        # What is bad for its place in the tar is known now, before hours of work.
        for plan in plans:
            self._require_few(plan, plan.bad)

    def run_shard(self, index: int, build: Build) -> ShardCounts:
        """Read one shard into `build`.

        Raises:
            DataError: it alone has more bad samples than the whole set may, or what is computed is not finite.
        """
        plan = self._plans[index]
        bad, used = list(plan.bad), 0
        with self._fold.shard(plan, build):
            for batch in self._stream.batches(index):
                bad.extend(batch.bad)
                used += len(batch.keys)
                if batch.keys:
                    self._fold.take(batch, plan)
                advance(self._stage, len(batch.keys) + len(batch.bad))
                self._require_few(plan, bad)
        advance(self._stage, len(plan.bad))
        return ShardCounts(used, tuple(bad))

    def _require_few(self, plan: ShardPlan, bad: Sequence[BadSample]) -> None:
        Tally(self._n_planned, self._max_bad_fraction).add(0, plan.shard.location, bad)


class CaptionTransform:
    """Token ids [context] of one caption; a class, so that worker processes can receive it."""

    def __init__(self, tokenizer: Any) -> None:
        """Use `tokenizer`, which takes a list of texts."""
        self._tokenizer = tokenizer

    def __call__(self, caption: str) -> Tensor:
        """The ids, padded or cut to the model's context."""
        ids: Tensor = self._tokenizer([caption])[0]
        return ids


def input_stream(
    loaded: LoadedModel,
    encoder: Encoder,
    plans: Sequence[ShardPlan],
    *,
    batch_size: int,
    context: RunContext,
    side: Content | None = None,
    decoder: Decoder = "pillow",
) -> BatchStream:
    """What an encoder reads of planned shards, decoded and transformed as the model needs it.

    Args:
        loaded: whose preprocessing and tokenizer are used.
        encoder: which inputs.
        plans: the samples.
        batch_size: inputs in a batch.
        context: how many processes decode, and for which device.
        side: read this side of pairs only; None for both.
        decoder: of pictures.

    Returns:
        Batches by shard.

    Raises:
        SpecError: the decoder cannot follow the model's preprocessing.
    """
    pictures = loaded.preprocess if decoder == "pillow" else PixelTransform(loaded.preprocess)
    transform = pictures if encoder == "vision" else CaptionTransform(loaded.tokenizer)
    return BatchStream(
        plans,
        encoder,
        transform,
        batch_size=batch_size,
        workers=context.workers,
        pin_memory=torch.device(context.device).type == "cuda",
        side=side,
        decoder=decoder,
    )


class NotFinite(Exception):
    """A row that holds NaN or infinity."""

    def __init__(self, what: str, row: int) -> None:
        """`what` names the quantity, `row` counts in the batch."""
        super().__init__(what)
        self.what, self.row = what, row


def require_finite(values: Tensor, what: str) -> None:
    """Refuse [rows, ...] with a NaN or infinite entry.

    Raises:
        NotFinite: names the first such row.
    """
    require_rows(torch.isfinite(values).flatten(1).all(dim=1), what)


def require_rows(finite: Tensor, what: str) -> None:
    """Refuse rows of which `finite` [rows] bool says that they are not.

    Raises:
        NotFinite: names the first such row.
    """
    if not bool(finite.all()):
        raise NotFinite(what, int((~finite).nonzero()[0, 0]))
