"""One shard's sums as an artifact of their own, beside the parts that hold rows."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from data_specs.run_config import Encoder, Precision
from data_specs.schemas import layer_folder, pair_id
from tasks.encoders.forward import memory_of
from tasks.encoders.loading import LoadedModel
from tasks.extraction.freed_memory import return_freed_memory
from tasks.extraction.parts import ObserverOf, Part
from tasks.extraction.rows import Observer, RowFold
from tasks.lineage.cores import available_cores
from tasks.lineage.store import Build, Store
from tasks.scoring.folded.by_tag import layer_folding
from tasks.scoring.folded.layer import AnyLayerFolding, Folded, Folding, LayerState, Unfolded
from tasks.scoring.folded.sample import drawn, rows_of
from tasks.scoring.joined.layer import SUMMED, JoinedPartMaker
from tasks.shards.plan import ShardPlan

_FEWER_SUMS = "fold fewer layers, and leave sums_by_tag out where there are many tags"


class SumFold(RowFold):
    """Runs an encoder once a batch and adds up what the observer makes of it, window by window.

    Threads write what a shard came to while the next one is read; so the sums of two are held at most.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        encoder: Encoder,
        observer: Observer,
        precision: Precision,
        device: torch.device,
        layers: Mapping[str, AnyLayerFolding[Any]],
    ) -> None:
        """Fold the rows of each of the observer's folders; `layers` are by folder, too."""
        super().__init__(loaded, encoder, observer, precision, device)
        self._layers = layers
        # Compressing takes a core for 0.2 GB/s.
        self._writers = ThreadPoolExecutor(max(1, available_cores() // 2), thread_name_prefix="sums-writer")
        self._writing: list[Future[None]] = []

    @contextmanager
    def shard(self, plan: ShardPlan, build: Build) -> Iterator[None]:
        """Begin to write each layer's files when the shard ends; they are complete when the build ends."""
        some = next(iter(self._layers.values()))
        ids = [pair_id(plan.shard.sha256, key) for key in plan.keys]
        self._windows = {
            folder: ShardWindows(layer, self._observer.schemas()[folder], drawn(ids, some.sample_pairs))
            for folder, layer in self._layers.items()
        }
        hooks = self._observer if isinstance(self._observer, AbstractContextManager) else nullcontext()
        with hooks, self._in_order():
            yield
        with memory_of(self._device, _FEWER_SUMS):
            states = {folder: windows.end() for folder, windows in self._windows.items()}
        del self._windows
        counts = (self._layers[folder].counts(state) for folder, state in states.items())
        build.counts[SUMMED] = next((each for each in counts if each is not None), None)
        wait(self._writing)  # an error of theirs is told to the build that they are of
        self._writing = [
            self._writers.submit(self._layers[folder].write, state, build.folder / folder)
            for folder, state in states.items()
        ]
        self._writing.append(self._writers.submit(return_freed_memory))
        build.pending.extend(writing.result for writing in self._writing)

    def keep(self, rows: dict[str, pa.RecordBatch]) -> None:
        """Fold the next rows of a shard.

        Raises:
            DataError: a pair has no ratio; layer and pair are named.
            MachineError: the device has too little memory for the sums.
        """
        with memory_of(self._device, _FEWER_SUMS):
            for folder, batch in rows.items():
                self._windows[folder].take(batch)


class ShardWindows:
    """Rows of one shard and layer that wait for their window to be full."""

    def __init__(self, layer: AnyLayerFolding[Any], schema: pa.Schema, sampled: frozenset[str]) -> None:
        """Fold by `layer` rows of `schema`; `sampled` are the ids of pairs that may be in the sample."""
        self._layer, self._schema, self._sampled = layer, schema, sampled
        self._waiting: list[pa.RecordBatch] = []
        self._folded: Folded[Any] | None = None

    def take(self, rows: pa.RecordBatch) -> None:
        """Take the next rows of the shard.

        Raises:
            DataError: a pair has no ratio; it is named.
        """
        self._waiting.append(rows)
        # A shard that is one window stays as rows.
        while sum(batch.num_rows for batch in self._waiting) > self._layer.window_rows:
            self._fold(self._layer.window_rows)

    def _fold(self, n_rows: int) -> None:
        table = pa.Table.from_batches(self._waiting, self._schema)
        rows = table.slice(0, n_rows).combine_chunks()
        self._waiting = table.slice(n_rows).to_batches()
        if self._folded is None:
            self._folded = self._layer.empty()
        self._layer.add(rows, self._folded, rows_of(rows, self._sampled))

    def end(self) -> LayerState[Any]:
        """What the shard came to.

        Raises:
            DataError: a pair has no ratio; it is named.
        """
        if self._folded is None:
            return Unfolded(pa.Table.from_batches(self._waiting, self._schema).combine_chunks())
        self._fold(sum(batch.num_rows for batch in self._waiting))
        return self._folded


@dataclass(frozen=True)
class FoldedPartMaker(JoinedPartMaker):
    """How the parts of one folded set are made; a value that can be sent to another process."""

    observer: ObserverOf
    folding: Folding

    def layers(self, loaded: LoadedModel, device: torch.device) -> dict[str, AnyLayerFolding[Any]]:
        """How each layer is folded, by its folder."""
        weights = loaded.target_weights(self.encoder, self.folding.chosen.layers)
        return {
            layer_folder(self.encoder, name): layer_folding(weight.to(device), self.folding, name)
            for name, weight in weights.items()
        }

    def fold(self, parts: Sequence[Part], loaded: LoadedModel, store: Store, device: torch.device) -> SumFold:
        """Sums in place of rows."""
        del parts, store
        layers = self.layers(loaded, device)
        return SumFold(loaded, self.encoder, self.observer(loaded.model), self.precision, device, layers)
