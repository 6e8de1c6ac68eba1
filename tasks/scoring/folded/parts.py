"""One shard's sums as an artifact of their own, beside the parts that hold rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.manifest import Source
from data_specs.run_config import Encoder, Precision
from data_specs.schemas import layer_folder, pair_id
from tasks.encoders.loading import LoadedModel
from tasks.extraction.parts import Part, PartMaker
from tasks.extraction.rows import Observer, RowFold
from tasks.extraction.shard_pass import ShardPass
from tasks.extraction.shared_reading import SharedReading
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import advance
from tasks.lineage.store import Build, Made, Store
from tasks.scoring.folded.layer import Folded, Folding, LayerFolding, Unfolded
from tasks.scoring.folded.sample import drawn, rows_of
from tasks.shards.plan import ShardPlan

# Of a folded artifact's record: what its sums count, and what became of the samples of each of its shards.
SUMMED, OF_SHARDS = "summed", "of_shards"


class SumFold(RowFold):
    """Runs an encoder once a batch and adds up what the observer makes of it, window by window."""

    def __init__(
        self,
        loaded: LoadedModel,
        encoder: Encoder,
        observer: Observer,
        precision: Precision,
        device: torch.device,
        layers: Mapping[str, LayerFolding],
    ) -> None:
        """Fold the rows of each of the observer's folders; `layers` are by folder, too."""
        super().__init__(loaded, encoder, observer, precision, device)
        self._layers = layers

    @contextmanager
    def shard(self, plan: ShardPlan, build: Build) -> Iterator[None]:
        """Write each layer's files when the shard ends."""
        some = next(iter(self._layers.values()))
        ids = [pair_id(plan.shard.sha256, key) for key in plan.keys]
        self._windows = {
            folder: ShardWindows(layer, self._observer.schemas()[folder], drawn(ids, some.sample_pairs))
            for folder, layer in self._layers.items()
        }
        hooks = self._observer if isinstance(self._observer, AbstractContextManager) else nullcontext()
        with hooks, self._in_order():
            yield
        for folder, windows in self._windows.items():
            build.counts[SUMMED] = windows.end(build, folder)
        del self._windows

    def keep(self, rows: dict[str, pa.RecordBatch]) -> None:
        """Fold the next rows of a shard.

        Raises:
            DataError: a pair has no ratio; layer and pair are named.
        """
        for folder, batch in rows.items():
            self._windows[folder].take(batch)


class ShardWindows:
    """Rows of one shard and layer that wait for their window to be full."""

    def __init__(self, layer: LayerFolding, schema: pa.Schema, sampled: frozenset[str]) -> None:
        """Fold by `layer` rows of `schema`; `sampled` are the ids of pairs that may be in the sample."""
        self._layer, self._schema, self._sampled = layer, schema, sampled
        self._waiting: list[pa.RecordBatch] = []
        self._folded: Folded | None = None

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

    def end(self, build: Build, folder: str) -> dict[str, int] | None:
        """Write what the shard came to; returns the counts of its sums, None where it is rows."""
        if self._folded is None:
            rows = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
            self._layer.write(Unfolded(rows), build.folder / folder)
            return None
        self._fold(sum(batch.num_rows for batch in self._waiting))
        self._layer.write(self._folded, build.folder / folder)
        return dict(self._folded.sums.counts)


def layer_foldings(
    weights: Mapping[str, Tensor], encoder: Encoder, folding: Folding, device: torch.device
) -> dict[str, LayerFolding]:
    """How each layer is folded, by its folder."""
    return {
        layer_folder(encoder, name): LayerFolding(weight.to(device), folding, name) for name, weight in weights.items()
    }


@dataclass(frozen=True)
class FoldedPartMaker(PartMaker):
    """How the parts of one folded set are made; a value that can be sent to another process."""

    folding: Folding

    def make(
        self,
        parts: Sequence[Part],
        plans: Sequence[ShardPlan],
        loaded: LoadedModel,
        store: Store,
        context: RunContext,
        decoded: SharedReading | None = None,
    ) -> Iterator[Made]:
        """Make parts one after the other, or find them made; decoding goes on from one to the next."""
        missing = [index for index, part in enumerate(parts) if not store.holds(part.ref)]
        chosen = [plans[index] for index in missing]
        device = torch.device(context.device)
        layers = layer_foldings(
            loaded.target_weights(self.encoder, self.folding.chosen.layers), self.encoder, self.folding, device
        )
        fold = SumFold(loaded, self.encoder, self.observer(loaded.model), self.precision, device, layers)
        shard_pass = self.shard_pass(fold, chosen, loaded, context, decoded)
        places = {index: place for place, index in enumerate(missing)}
        for index, (part, plan) in enumerate(zip(parts, plans, strict=True)):
            made = store.materialise(part.recipe, _writer(shard_pass, places.get(index), plan), context)
            if made.reused:
                advance(self.stage, len(plan.keys) + len(plan.bad))
            yield made


def _writer(shard_pass: ShardPass, place: int | None, plan: ShardPlan) -> Callable[[Build], None]:
    def write(build: Build) -> None:
        shard = plan.shard
        if place is None:
            raise DataError(f"the sums of shard {shard.location} vanished from the store; start again")
        counts = shard_pass.run_shard(place, build)
        build.counts[OF_SHARDS] = [{"used": counts.used, "bad": [vars(item) for item in counts.bad]}]
        build.sources.append(Source(location=shard.location, sha256=shard.sha256, size_bytes=shard.size_bytes))

    return write
