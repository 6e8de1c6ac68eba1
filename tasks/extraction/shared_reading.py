"""Shards that several models read: each sample is decoded once, in memory that does not grow with the set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import load_file, save_file

from data_specs.run_config import Content
from tasks.shards.batch import Batch
from tasks.shards.plan import ShardPlan
from tasks.shards.reading import BatchStream

HELD_BYTES = 512 << 20
_CONTENTS: tuple[Content, ...] = ("safe", "unsafe")


_Held = list[tuple[Batch, Path | None]]  # batches of one shard, and the files of those that did not fit into memory


class SharedReading:
    """Batches of planned shards, decoded when they are first asked for and held until they are forgotten."""

    def __init__(
        self, stream: BatchStream, plans: Sequence[ShardPlan], folder: Path, *, held_bytes: int = HELD_BYTES
    ) -> None:
        """Read `plans` by `stream`; what is beyond `held_bytes` goes to files in `folder` until it is forgotten."""
        self._stream, self._plans, self._folder, self._room = stream, list(plans), folder, held_bytes
        self._held: dict[int, _Held] = {}
        self._left = held_bytes

    def windows(self) -> Iterator[list[int]]:
        """The shards in their order, by as many as fit into memory together, or one; each time the last ones are forgotten."""
        window: list[int] = []
        taken = 0
        try:
            for index in range(len(self._plans)):
                size = self._stream.shard_bytes(index)
                if window and taken + size > self._room:
                    yield window
                    self._forget()
                    window, taken = [], 0
                window.append(index)
                taken += size
            if window:
                yield window
        finally:
            self._forget()

    def of(self, plans: Sequence[ShardPlan]) -> "SharedBatches":
        """The batches of some of the plans, by their place among these."""
        places = {id(plan): index for index, plan in enumerate(self._plans)}
        return SharedBatches(self, [places[id(plan)] for plan in plans])

    def batches(self, index: int) -> Iterator[Batch]:
        """All batches of one shard, in order."""
        if index in self._held:
            for batch, path in self._held[index]:
                yield batch if path is None else _with_inputs(batch, path)
            return
        held: _Held = []
        for batch in self._stream.batches(index):
            held.append(self._hold(batch, index))
            yield batch
        self._held[index] = held

    def _hold(self, batch: Batch, index: int) -> tuple[Batch, Path | None]:
        size = sum(inputs.numel() * inputs.element_size() for inputs in batch.inputs.values())
        if size <= self._left:
            self._left -= size
            return batch, None
        path = self._folder / f"{index}-{batch.number}.safetensors"
        save_file({content: inputs.contiguous() for content, inputs in batch.inputs.items()}, path)
        return replace(batch, inputs={}), path

    def _forget(self) -> None:
        for held in self._held.values():
            for _, path in held:
                if path is not None:
                    path.unlink(missing_ok=True)
        self._held.clear()
        self._left = self._room


@dataclass(frozen=True)
class SharedBatches:
    """Some of the shards of a shared reading."""

    reading: SharedReading
    places: Sequence[int]

    def batches(self, plan_index: int) -> Iterator[Batch]:
        """All batches of one shard, in order."""
        return self.reading.batches(self.places[plan_index])


def _with_inputs(batch: Batch, path: Path) -> Batch:
    found = load_file(path)
    return replace(batch, inputs={content: found[content] for content in _CONTENTS if content in found})
