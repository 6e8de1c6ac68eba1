"""A forward pass as rows: a Parquet file a shard and folder; what is kept of each batch is the observer's choice."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.run_config import Content, Encoder, Precision
from data_specs.samples import needed_contents
from data_specs.schemas import pair_id
from data_specs.wording import shown
from tasks.encoders.forward import encode, forward_precision, memory_of
from tasks.encoders.loading import LoadedModel
from tasks.encoders.tokens import valid_text_tokens
from tasks.extraction.shard_pass import NotFinite
from tasks.extraction.table_writer import TableWriter
from tasks.lineage.store import Build
from tasks.shards.batch import Batch
from tasks.shards.plan import ShardPlan

# A shard's files are named after the beginning of its digest.
SHARD_DIGEST_CHARS = 12


Identity = dict[str, pa.Array]  # the columns pair_id, content and tag, an entry a row
RowsToCome = Callable[[Identity], dict[str, pa.RecordBatch]]  # rows for each folder


class Observer(Protocol):
    """Turns one forward pass into rows."""

    def schemas(self) -> dict[str, pa.Schema]:
        """The folders that it fills, with the schema of their files."""

    def prepare(self, valid: Tensor | None) -> None:
        """A forward pass comes; `valid` is [rows, tokens] bool for texts, None for images, whose tokens all count."""

    def rows_to_come(self, embeddings: Tensor) -> RowsToCome:
        """What the pass has shown, on its way to the host; the next pass may begin before it is called.

        Args:
            embeddings: [rows, embedding] float32 of unit norm.
        """


@dataclass(frozen=True)
class _UnderWay:
    """A batch that was computed, or that a GPU is computing."""

    batch: Batch
    plan: ShardPlan
    contents: tuple[Content, ...]
    rows: RowsToCome


class RowFold:
    """Runs an encoder once a batch and writes what the observer makes of it.

    A GPU computes the next batch while the rows of the last one are made and written.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        encoder: Encoder,
        observer: Observer,
        precision: Precision,
        device: torch.device,
        *,
        ahead: int | None = None,
    ) -> None:
        """The model moves to `device`; `ahead` batches are computed before the rows of one are made, None: one on a GPU."""
        self._encoder, self._observer, self._precision, self._device = encoder, observer, precision, device
        self._model = loaded.model.to(device)
        self._ahead = (1 if device.type == "cuda" else 0) if ahead is None else ahead
        self._under_way: deque[_UnderWay] = deque()

    @contextmanager
    def shard(self, plan: ShardPlan, build: Build) -> Iterator[None]:
        """Write `FOLDER/SHARD.parquet` for each of the observer's folders; the last rows when the build ends."""
        schemas, name = self._observer.schemas(), f"{plan.shard.sha256[:SHARD_DIGEST_CHARS]}.parquet"
        self._files = {inner: build.folder / inner / name for inner in schemas}
        hooks = self._observer if isinstance(self._observer, AbstractContextManager) else nullcontext()
        self._writer = TableWriter({self._files[inner]: schema for inner, schema in schemas.items()})
        try:
            with hooks, self._in_order():
                yield
        except BaseException:
            self._writer.abandon()
            raise
        build.pending.append(self._writer.close)

    def take(self, batch: Batch, plan: ShardPlan) -> None:
        """Encode a batch, and keep the rows of it or, on a GPU, of the one before.

        Raises:
            DataError: a row is NaN or infinite.
            MachineError: the device has too little memory for a batch.
        """
        with memory_of(self._device, f"set batch_size below {_n_inputs(batch)}"):
            self._under_way.append(self._begun(batch, plan))
        self._keep_all_but(self._ahead)

    def keep(self, rows: dict[str, pa.RecordBatch]) -> None:
        """Keep the next rows of a shard, by folder."""
        self._writer.write({self._files[inner]: batch for inner, batch in rows.items()})

    @contextmanager
    def _in_order(self) -> Iterator[None]:
        """Keep all rows of a shard before it ends; what an error has left of another one is forgotten."""
        self._under_way.clear()
        yield
        self._keep_all_but(0)

    def _keep_all_but(self, n_batches: int) -> None:
        while len(self._under_way) > n_batches:
            self.keep(_rows(self._under_way.popleft()))

    def _begun(self, batch: Batch, plan: ShardPlan) -> _UnderWay:
        contents = needed_contents(plan.shard.content)
        # Each side as it was decoded, in page-locked memory, which a GPU reads by itself.
        sides = [batch.inputs[content].to(self._device, non_blocking=True) for content in contents]
        inputs = torch.stack(sides, dim=1).flatten(0, 1)
        self._observer.prepare(valid_text_tokens(self._model, inputs) if self._encoder == "text" else None)
        with forward_precision(self._precision, self._device):
            embeddings = encode(self._model, self._encoder, inputs)
            return _UnderWay(batch, plan, contents, self._observer.rows_to_come(embeddings))


def _n_inputs(batch: Batch) -> int:
    return sum(len(inputs) for inputs in batch.inputs.values())


def _rows(made: _UnderWay) -> dict[str, pa.RecordBatch]:
    batch, contents = made.batch, made.contents
    try:
        return made.rows(_identity(batch, made.plan, contents))
    except NotFinite as error:
        raise DataError(
            f"{error.what} of pair {shown(batch.keys[error.row // len(contents)])} ({contents[error.row % len(contents)]}"
            f" side) in shard {made.plan.shard.location} is NaN or infinite; look at the sample and at the precision"
        ) from error


def _identity(batch: Batch, plan: ShardPlan, contents: tuple[Content, ...]) -> Identity:
    n_sides = len(contents)
    ids = [pair_id(plan.shard.sha256, key) for key in batch.keys for _ in range(n_sides)]
    tags = [tag for tag in batch.tags for _ in range(n_sides)]
    return {
        "pair_id": pa.array(ids, pa.string()),
        "content": pa.array(list(contents) * len(batch.keys), pa.string()),
        "tag": pa.array(tags, pa.string()),
    }
