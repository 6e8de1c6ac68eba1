"""A forward pass as rows: a Parquet file a shard and folder; what is kept of each batch is the observer's choice."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

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
from tasks.extraction.shard_pass import NotFinite
from tasks.extraction.table_writer import TableWriter
from tasks.lineage.store import Build
from tasks.shards.batch import Batch
from tasks.shards.plan import ShardPlan

# A shard's files are named after the beginning of its digest.
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


class RowFold:
    """Runs an encoder once a batch and writes what the observer makes of it."""

    def __init__(
        self, loaded: LoadedModel, encoder: Encoder, observer: Observer, precision: Precision, device: torch.device
    ) -> None:
        """The model moves to `device`."""
        self._encoder, self._observer, self._precision, self._device = encoder, observer, precision, device
        self._model = loaded.model.to(device)

    @contextmanager
    def shard(self, plan: ShardPlan, build: Build) -> Iterator[None]:
        """Write `FOLDER/SHARD.parquet` for each of the observer's folders; the last rows when the build ends."""
        schemas, name = self._observer.schemas(), f"{plan.shard.sha256[:SHARD_DIGEST_CHARS]}.parquet"
        self._files = {inner: build.folder / inner / name for inner in schemas}
        hooks = self._observer if isinstance(self._observer, AbstractContextManager) else nullcontext()
        self._writer = TableWriter({self._files[inner]: schema for inner, schema in schemas.items()})
        try:
            with hooks:
                yield
        except BaseException:
            self._writer.abandon()
            raise
        build.pending.append(self._writer.close)

    def take(self, batch: Batch, plan: ShardPlan) -> None:
        """Encode a batch and write its rows.

        Raises:
            DataError: a row is NaN or infinite.
        """
        self._writer.write({self._files[inner]: rows for inner, rows in self._rows(batch, plan).items()})

    def _rows(self, batch: Batch, plan: ShardPlan) -> dict[str, pa.RecordBatch]:
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


def _identity(batch: Batch, plan: ShardPlan, contents: tuple[Content, ...]) -> dict[str, pa.Array]:
    n_sides = len(contents)
    ids = [pair_id(plan.shard.sha256, key) for key in batch.keys for _ in range(n_sides)]
    tags = [tag for tag in batch.tags for _ in range(n_sides)]
    return {
        "pair_id": pa.array(ids, pa.string()),
        "content": pa.array(list(contents) * len(batch.keys), pa.string()),
        "tag": pa.array(tags, pa.string()),
    }
