"""One encoder's pass over planned shards; what is kept of each batch is the observer's choice."""

from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa
import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.run_config import Content, Encoder, Precision
from data_specs.samples import needed_contents
from data_specs.schemas import pair_id
from data_specs.wording import shown
from tasks.encoders.forward import encode, forward_precision
from tasks.encoders.loading import LoadedModel
from tasks.encoders.tokens import valid_text_tokens
from tasks.extraction.table_writer import TableWriter
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import advance
from tasks.lineage.store import Build
from tasks.shards.batch import Batch
from tasks.shards.plan import BadSample, ShardPlan, Tally, planned_samples
from tasks.shards.reading import BatchStream

# A shard's files are named after its place in the pass and the beginning of its digest.
SHARD_DIGEST_CHARS = 12


class Observer(Protocol):
    """Turns one forward pass into rows."""

    def schemas(self) -> dict[str, pa.Schema]:
        """The folders that it fills, with the schema of their files."""

    def prepare(self, valid: Tensor | None) -> None:
        """A forward pass comes; `valid` is [rows, tokens] bool for texts, None for images, whose tokens all count."""

    def rows(self, identity: dict[str, pa.Array], embeddings: Tensor) -> dict[str, pa.RecordBatch]:
        """Rows for each folder.

        Args:
            identity: the columns pair_id, content and tag, an entry a row.
            embeddings: [rows, embedding] float32 of unit norm.
        """


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
) -> BatchStream:
    """What an encoder reads of planned shards, decoded and transformed as the model needs it.

    Args:
        loaded: whose preprocessing and tokenizer are used.
        encoder: which inputs.
        plans: the samples.
        batch_size: inputs in a batch.
        context: how many processes decode, and for which device.
        side: read this side of pairs only; None for both.

    Returns:
        Batches by shard.
    """
    transform = loaded.preprocess if encoder == "vision" else CaptionTransform(loaded.tokenizer)
    on_gpu = torch.device(context.device).type == "cuda"
    return BatchStream(
        plans, encoder, transform, batch_size=batch_size, workers=context.workers, pin_memory=on_gpu, side=side
    )


class ShardPass:
    """Reads shards, runs the encoder once a batch, and writes a Parquet file per shard and folder.

    Shards that an earlier, killed process finished are taken as they are. Batches never reach
    across shards, so a shard's bytes do not depend on which others were read before it.
    """

    def __init__(
        self,
        build: Build,
        loaded: LoadedModel,
        encoder: Encoder,
        plans: Sequence[ShardPlan],
        observer: Observer,
        *,
        stage: str,
        precision: Precision,
        batch_size: int,
        max_bad_fraction: float,
        context: RunContext,
    ) -> None:
        """Prepare a pass; the model moves to `context.device`."""
        self._build, self._encoder, self._plans, self._observer = build, encoder, list(plans), observer
        self._stage, self._precision = stage, precision
        self._device = torch.device(context.device)
        self._model = loaded.model.to(self._device)
        self._stream = input_stream(loaded, encoder, plans, batch_size=batch_size, context=context)
        self.tally = Tally(planned_samples(plans), max_bad_fraction)
        # What is bad for its place in the tar is known now, before hours of work.
        known = Tally(self.tally.n_planned, max_bad_fraction)
        for plan in plans:
            known.add(0, plan.shard.location, plan.bad)

    def run_shard(self, index: int) -> dict[str, Any]:
        """Make the files of one shard, or find them made.

        Returns:
            Counts: samples used and skipped.

        Raises:
            DataError: too many bad samples, or statistics that are not finite.
        """
        plan = self._plans[index]
        name = f"{index:06d}-{plan.shard.sha256[:SHARD_DIGEST_CHARS]}"
        record = self._build.parts.record(name)
        if record is None:
            record = self._make_shard(index, name)
        else:
            advance(self._stage, len(plan.keys) + len(plan.bad))
        self.tally.add(record["used"], plan.shard.location, [BadSample(**item) for item in record["bad"]])
        return {"shard": plan.shard.location, "used": record["used"], "skipped": len(record["bad"])}

    def _make_shard(self, index: int, name: str) -> dict[str, Any]:
        plan = self._plans[index]
        files = {folder: self._build.folder / folder / f"{name}.parquet" for folder in self._observer.schemas()}
        bad = list(plan.bad)
        used = 0
        with TableWriter({files[folder]: schema for folder, schema in self._observer.schemas().items()}) as writer:
            for batch in self._stream.batches(index):
                bad.extend(batch.bad)
                used += len(batch.keys)
                if batch.keys:
                    writer.write({files[folder]: rows for folder, rows in self._forward(batch, plan).items()})
                advance(self._stage, len(batch.keys) + len(batch.bad))
                self._check_early(plan, bad)
        advance(self._stage, len(plan.bad))
        record = {"used": used, "bad": [vars(item) for item in bad]}
        self._build.parts.finish(name, [path for path in files.values() if path.exists()], record)
        return record

    def _check_early(self, plan: ShardPlan, bad: list[BadSample]) -> None:
        so_far = Tally(self.tally.n_planned, self.tally.max_bad_fraction, 0, list(self.tally.skipped))
        so_far.add(0, plan.shard.location, bad)

    def _forward(self, batch: Batch, plan: ShardPlan) -> dict[str, pa.RecordBatch]:
        contents = needed_contents(plan.shard.content)
        inputs = torch.stack([batch.inputs[content] for content in contents], dim=1).flatten(0, 1)
        inputs = inputs.to(self._device, non_blocking=True)
        identity = _identity(batch, plan, contents)
        self._observer.prepare(valid_text_tokens(self._model, inputs) if self._encoder == "text" else None)
        try:
            with forward_precision(self._precision, self._device):
                embeddings = encode(self._model, self._encoder, inputs)
                return self._observer.rows(identity, embeddings)
        except NotFinite as error:
            raise DataError(
                f"{error.what} of pair {shown(batch.keys[error.row // len(contents)])} ({contents[error.row % len(contents)]}"
                f" side) in shard {plan.shard.location} is NaN or infinite; look at the sample and at the precision"
            ) from error


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
    finite = torch.isfinite(values).flatten(1).all(dim=1)
    if not bool(finite.all()):
        raise NotFinite(what, int((~finite).nonzero()[0, 0]))


def _identity(batch: Batch, plan: ShardPlan, contents: tuple[Content, ...]) -> dict[str, pa.Array]:
    n_sides = len(contents)
    ids = [pair_id(plan.shard.sha256, key) for key in batch.keys for _ in range(n_sides)]
    tags = [tag for tag in batch.tags for _ in range(n_sides)]
    return {
        "pair_id": pa.array(ids, pa.string()),
        "content": pa.array(list(contents) * len(batch.keys), pa.string()),
        "tag": pa.array(tags, pa.string()),
    }
