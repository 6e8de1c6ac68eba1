"""Decoded batches from shards, in order, by worker processes that share the work batch by batch."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from webdataset.tariterators import group_by_keys

from data_specs.errors import DataError, MachineError, PipelineError
from data_specs.run_config import Content, Decoder, Encoder
from data_specs.samples import CLASS_SUFFIX, TAG_SUFFIX, BadReason, member_names, needed_contents
from data_specs.wording import first_line, shown
from tasks.lineage.progress import notice
from tasks.shards.batch import Batch
from tasks.shards.decoding import DECODERS, Undecodable, decode_caption, sample_tag
from tasks.shards.inspection import Shard
from tasks.shards.plan import BadSample, ShardPlan
from tasks.shards.tar import FILE, UNREADABLE, Tar, split_name
from tasks.shards.tar_headers import ReadError
from tasks.shards.worker_processes import SHARED_MEMORY, free_shared_memory, prepare_worker

Transform = Callable[[Any], Tensor]

_AHEAD = 2
_LOCKS_BYTES = 256 << 10  # of one worker: a page each
# A batch takes a second. A file system that hangs must not hold a run for ever.
_LONGEST_WAIT_SECONDS = 900


class BatchReader(IterableDataset[Batch]):
    """Batches of planned shards, in order; worker `w` of `n` decodes batches w, w + n, w + 2n, ...

    Every worker passes over each tar but reads only its own members. The data loader takes
    from its workers in turn, so the order of batches does not depend on how many there are.
    """

    def __init__(
        self,
        plans: Sequence[ShardPlan],
        encoder: Encoder,
        transform: Transform,
        batch_size: int,
        side: Content | None = None,
        decoder: Decoder = "pillow",
    ) -> None:
        """Read `plans` for `encoder`; `batch_size` counts inputs, so a pair counts as two, with `side` as one."""
        self._decode_input = DECODERS[decoder] if encoder == "vision" else decode_caption
        self.by_pipe = False  # workers then send batches without shared memory
        self._plans = list(plans)
        self._side: Content | None = side
        self._encoder: Encoder = encoder
        self._transform = transform
        self._batch_size = batch_size

    def n_batches(self, plan_index: int) -> int:
        """How many batches a shard gives."""
        return len(self._batches(plan_index))

    def n_inputs(self, plan_index: int) -> int:
        """How many inputs a shard gives, a pair's two counted both."""
        plan = self._plans[plan_index]
        return len(plan.keys) * len(self._contents(plan.shard))

    def batch_bytes(self) -> int:
        """Memory of a full batch's inputs."""
        example = self._transform(Image.new("RGB", (32, 32)) if self._encoder == "vision" else "a")
        return self._batch_size * example.numel() * example.element_size()

    def keys(self, plan_index: int, number: int) -> tuple[str, ...]:
        """The samples of one batch of a shard."""
        return self._batches(plan_index)[number]

    def _contents(self, shard: Shard) -> tuple[Content, ...]:
        contents = needed_contents(shard.content)
        return contents if self._side is None else tuple(side for side in contents if side == self._side)

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        if info is None:
            yield from self._share(0, 1)
            return
        try:
            for batch in self._share(info.id, info.num_workers):
                yield batch.as_arrays() if self.by_pipe else batch
        except PipelineError as error:
            yield Batch(-1, -1, [], [], {}, [], error=error)

    def _share(self, worker: int, n_workers: int) -> Iterator[Batch]:
        number = 0
        for plan_index in range(len(self._plans)):
            batches = self._batches(plan_index)
            mine = {number + i: keys for i, keys in enumerate(batches) if (number + i) % n_workers == worker}
            if mine:
                yield from self._read(plan_index, mine)
            number += len(batches)

    def _batches(self, plan_index: int) -> list[tuple[str, ...]]:
        plan = self._plans[plan_index]
        size = max(1, self._batch_size // len(self._contents(plan.shard)))
        return [plan.keys[start : start + size] for start in range(0, len(plan.keys), size)]

    def _read(self, plan_index: int, batches: dict[int, tuple[str, ...]]) -> Iterator[Batch]:
        plan = self._plans[plan_index]
        wanted = {key for keys in batches.values() for key in keys}
        endings = {TAG_SUFFIX, CLASS_SUFFIX}
        for content in self._contents(plan.shard):
            endings.update(member_names(self._encoder, content, paired=plan.shard.paired))

        def needed(name: str) -> bool:
            key, ending = split_name(name)
            return ending is not None and key in wanted and ending.lower() in endings

        try:
            tar = Tar(plan.shard.path)
        except OSError as error:
            raise _changed(plan, str(error)) from error
        with tar:
            files = (
                {"fname": member.name, "data": tar.read(member), "__url__": plan.shard.location}
                for member in tar
                if member.kind == FILE and needed(member.name)
            )
            stream = group_by_keys(files, keys=split_name)
            for number, keys in batches.items():
                # One at a time: a batch of the largest files would not fit into memory.
                yield self._decode(plan_index, number, (_next_sample(stream, key, plan) for key in keys))

    def _decode(self, plan_index: int, number: int, group: Iterable[dict[str, Any]]) -> Batch:
        shard = self._plans[plan_index].shard
        keys: list[str] = []
        tags: list[str | None] = []
        bad: list[BadSample] = []
        rows: dict[Content, list[Tensor]] = {content: [] for content in self._contents(shard)}
        for sample in group:
            try:
                tag = sample_tag(sample)
                decoded = {content: self._input(sample, content, shard.paired) for content in rows}
            except Undecodable as error:
                bad.append(error.sample)
                continue
            except MemoryError as error:
                raise _no_memory(shard.location, sample["__key__"]) from error
            except Exception as error:  # a transform or tokenizer meets what its authors did not think of
                reason: BadReason = "undecodable image" if self._encoder == "vision" else "undecodable caption"
                bad.append(BadSample(sample["__key__"], reason, f"{type(error).__name__}: {first_line(error)}"))
                continue
            keys.append(sample["__key__"])
            tags.append(tag)
            for content, value in decoded.items():
                rows[content].append(value)
        inputs = {content: torch.stack(values) for content, values in rows.items() if values}
        return Batch(plan_index, number, keys, tags, inputs, bad)

    def _input(self, sample: dict[str, Any], content: Content, paired: bool) -> Tensor:
        names = member_names(self._encoder, content, paired=paired)
        name = next(name for name in names if name in sample)
        return self._transform(self._decode_input(sample[name], key=sample["__key__"], name=name))


def _next_sample(stream: Iterator[dict[str, Any]], key: str, plan: ShardPlan) -> dict[str, Any]:
    try:
        sample = next(stream, None)
    except MemoryError as error:
        raise _no_memory(plan.shard.location, key) from error
    except (ReadError, *UNREADABLE) as error:
        raise _changed(plan, f"{type(error).__name__} before sample {key!r}") from error
    if sample is None or sample["__key__"] != key:
        got = "nothing" if sample is None else repr(sample["__key__"])
        raise _changed(plan, f"expected sample {key!r}, got {got}")
    return sample


def _no_memory(location: str, key: str) -> MachineError:
    return MachineError(
        f"memory ran out at sample {shown(key)} of shard {location}; use fewer --workers or free some memory"
    )


def _changed(plan: ShardPlan, detail: str) -> DataError:
    return DataError(
        f"shard {plan.shard.location} changed while it was read: {detail}; leave shards as they are during a run"
    )


class BatchStream:
    """One pass over planned shards, handed out shard by shard.

    Worker processes live through all shards. A shard that is asked for out of turn, as a
    retry does, starts a new pass from there.
    """

    def __init__(
        self,
        plans: Sequence[ShardPlan],
        encoder: Encoder,
        transform: Transform,
        *,
        batch_size: int,
        workers: int,
        pin_memory: bool = False,
        side: Content | None = None,
        decoder: Decoder = "pillow",
    ) -> None:
        """Read `plans` with `workers` processes; 0 decodes in this one. `side` reads one side of paired shards.

        Pictures come to `transform` as Pillow's, with the decoder torchvision most of them as [3, height, width] uint8.
        """
        self._side: Content | None = side
        self._decoder: Decoder = decoder
        self._plans, self._encoder, self._transform = list(plans), encoder, transform
        self._batch_size, self._workers, self._pin_memory = batch_size, workers, pin_memory
        self._next, self._number = -1, 0
        # Alone in a list that is emptied when this object goes, so that the loader ends by its reference
        # count. Found by the garbage collector, as after an exception, its queues close before it can tell
        # its workers to stop, and each of them is waited for 5 s.
        self._loading: list[Iterator[Batch]] = []
        weakref.finalize(self, self._loading.clear).atexit = False

    def batches(self, plan_index: int) -> Iterator[Batch]:
        """All batches of one shard, in order, none missing."""
        if plan_index != self._next:
            self._restart(plan_index)
        self._next = -1
        first = self._number
        self._number += self._reader.n_batches(plan_index - self._start)
        for expected in range(first, self._number):
            try:
                batch = next(self._loading[0], None)
            except RuntimeError as error:  # of the data loader: a worker died, or nothing came for too long
                raise self._lost(plan_index, expected - first, first_line(error)) from error
            if batch is not None and batch.error is not None:
                raise batch.error
            if batch is None or (batch.plan_index, batch.number) != (plan_index - self._start, expected):
                raise self._lost(plan_index, expected - first, "a batch was lost or out of turn")
            yield batch.as_tensors()
        self._next = plan_index + 1

    def shard_bytes(self, plan_index: int) -> int:
        """Memory of one shard's decoded inputs."""
        reader = BatchReader(self._plans, self._encoder, self._transform, 1, self._side)
        return reader.n_inputs(plan_index) * reader.batch_bytes()

    def _lost(self, plan_index: int, number: int, what: str) -> MachineError:
        keys = self._reader.keys(plan_index - self._start, number)
        return MachineError(
            f"the processes that decode samples ended at or after sample {keys[0]!r} of shard"
            f" {self._plans[plan_index].shard.location}: {what}. Memory or shared memory may be too small: use --workers 0,"
            " or in a container --shm-size=1g"
        )

    def _restart(self, plan_index: int) -> None:
        self._start, self._number = plan_index, 0
        self._loading.clear()
        self._reader = BatchReader(
            self._plans[plan_index:], self._encoder, self._transform, self._batch_size, self._side, self._decoder
        )
        if self._workers:
            # Workers write batches into shared memory, of which containers have 64 MB; where it is full, they die.
            in_flight, free = self._workers * (_AHEAD + 1) * self._reader.batch_bytes(), free_shared_memory()
            self._reader.by_pipe = free < in_flight
            if free < self._workers * _LOCKS_BYTES:
                notice(f"samples are decoded by one process: {SHARED_MEMORY} has {free} bytes left, too few for more")
                self._workers = 0
        # A loader without processes would only be on the way.
        self._loading.append(iter(self._loader() if self._workers or self._pin_memory else self._reader))

    def _loader(self) -> DataLoader[Batch]:
        return DataLoader(
            self._reader,
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=_AHEAD if self._workers else None,
            pin_memory=self._pin_memory and not self._reader.by_pipe,
            timeout=_LONGEST_WAIT_SECONDS if self._workers else 0,
            worker_init_fn=prepare_worker,
        )
