"""Embeddings of a pass over shards, as rows."""

import pyarrow as pa
from torch import Tensor, nn

from data_specs.schemas import embeddings_schema
from tasks.extraction.columns import vector_column
from tasks.extraction.host_copy import HostCopy
from tasks.extraction.rows import Identity, RowsToCome
from tasks.extraction.shard_pass import require_finite

FOLDER = "embeddings"


class EmbeddingObserver:
    """Keeps each input's embedding."""

    def __init__(self, width: int) -> None:
        """Expect embeddings of `width` numbers."""
        self._schema = embeddings_schema(width)

    def schemas(self) -> dict[str, pa.Schema]:
        """One folder."""
        return {FOLDER: self._schema}

    def prepare(self, valid: Tensor | None) -> None:
        """Nothing to prepare: pooling is the model's own."""

    def rows_to_come(self, embeddings: Tensor) -> RowsToCome:
        """A row an input; called, it waits until the embeddings are on the host.

        Raises:
            NotFinite: when it is called, an embedding is NaN or infinite.
        """
        coming = HostCopy([embeddings])
        return lambda identity: self._rows(identity, *coming.arrived())

    def rows(self, identity: Identity, embeddings: Tensor) -> dict[str, pa.RecordBatch]:
        """The same at once."""
        return self.rows_to_come(embeddings)(identity)

    def _rows(self, identity: Identity, values: Tensor) -> dict[str, pa.RecordBatch]:
        require_finite(values, "the embedding")
        columns = [*identity.values(), vector_column(values)]
        return {FOLDER: pa.RecordBatch.from_arrays(columns, schema=self._schema)}


def embedding_observer(_model: nn.Module, width: int) -> EmbeddingObserver:
    """The observer of any model whose embeddings have `width` numbers."""
    return EmbeddingObserver(width)
