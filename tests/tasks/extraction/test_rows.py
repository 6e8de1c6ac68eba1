"""Rows that are made while the next batch is computed are those of batches one by one."""

import pytest
import torch

from data_specs.errors import DataError, MachineError
from data_specs.run_config import ENCODERS
from tasks.activations.capture import StatisticsObserver
from tasks.embeddings.observer import EmbeddingObserver
from tasks.encoders.loading import load_model
from tasks.extraction.rows import RowFold
from tasks.extraction.shard_pass import ShardPass, input_stream
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.shards.plan import plan_reading
from tests.cases.devices import with_cuda
from tests.cases.models import write_tiny_model, write_toy_tokenizer
from tests.cases.recipes import recipe_of
from tests.cases.shard_files import inspected, pairs, write_tar

SIZES = (7, 1, 4)
N_INPUTS = 4  # of a batch
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    write_toy_tokenizer(folder / "tokenizer")
    return load_model(write_tiny_model(folder).model_copy(update={"tokenizer": str(folder / "tokenizer")}))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    names = [[f"s{number}k{i}" for i in range(size)] for number, size in enumerate(SIZES)]
    return [
        inspected(write_tar(folder / f"{number}.tar", pairs(keys, 10 * number))) for number, keys in enumerate(names)
    ]


def observer_of(loaded, encoder, kind):
    return EmbeddingObserver(16) if kind == "embeddings" else StatisticsObserver(loaded.model, encoder, "mlp_output")


def read(store, loaded, shards, encoder, observer, ahead, *, device=CPU, fold=RowFold):
    """The files of a pass over all shards."""
    plans = plan_reading(shards, encoder, None)

    def write(build):
        folded = fold(loaded, encoder, observer, "fp32", device, ahead=ahead)
        stream = input_stream(loaded, encoder, plans, batch_size=N_INPUTS, context=RunContext())
        shard_pass = ShardPass(stream, plans, folded, stage="rows", max_bad_fraction=0)
        for index in range(len(plans)):
            shard_pass.run_shard(index, build)

    return store.materialise(recipe_of(kind="embeddings", settings={"ahead": ahead}), write, RunContext())


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [1, 2, 5])
@pytest.mark.parametrize("kind", ["embeddings", "activations"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_batches_that_are_computed_ahead_leave_the_same_bytes(tmp_path, loaded, shards, encoder, kind, ahead):
    store = Store(tmp_path / "store")
    one_by_one, together = (
        read(store, loaded, shards, encoder, observer_of(loaded, encoder, kind), n).manifest.files for n in (0, ahead)
    )
    assert together == one_by_one
    assert len(one_by_one) == len(SIZES) * (1 if kind == "embeddings" else 2)


class Spoiling(StatisticsObserver):
    """Its second batch has a channel that is not finite, in the third of four inputs."""

    n_batches = 0

    def rows_to_come(self, embeddings):
        self.n_batches += 1
        if self.n_batches == 2:
            for calls in self._seen.values():
                calls[0].std[2, 1] = float("nan")
        return super().rows_to_come(embeddings)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_a_row_that_is_not_finite_names_its_own_pair_however_far_the_pass_has_gone(tmp_path, loaded, shards, ahead):
    observer = Spoiling(loaded.model, "vision", "mlp_output")
    with pytest.raises(DataError, match=r"mlp\.c_proj of pair 's0k3' \(safe side\) in shard .*0\.tar is NaN"):
        read(Store(tmp_path / "store"), loaded, shards, "vision", observer, ahead)


class Interrupted(RowFold):
    """Fails once, with a batch of the first shard under way."""

    failed = False

    def take(self, batch, plan):
        super().take(batch, plan)
        if not self.failed and batch.number == 1:
            self.failed = True
            raise OSError("the disk is away")


def test_what_an_error_has_left_under_way_is_in_no_later_shard(tmp_path, loaded, shards):
    plans, observer = plan_reading(shards, "vision", None), EmbeddingObserver(16)
    store = Store(tmp_path / "store")
    fold = Interrupted(loaded, "vision", observer, "fp32", CPU, ahead=1)
    stream = input_stream(loaded, "vision", plans, batch_size=N_INPUTS, context=RunContext())
    shard_pass = ShardPass(stream, plans, fold, stage="rows", max_bad_fraction=0)

    def write(build):
        with pytest.raises(OSError, match="the disk is away"):
            shard_pass.run_shard(0, build)
        for index in range(len(plans)):
            shard_pass.run_shard(index, build)

    made = store.materialise(recipe_of(kind="embeddings"), write, RunContext())
    expected = read(store, loaded, shards, "vision", observer, 0)
    assert made.manifest.files == expected.manifest.files


class Full(EmbeddingObserver):
    """A device without room, as torch tells it."""

    def rows_to_come(self, embeddings):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_a_device_without_room_for_a_batch_is_told_with_the_size_that_was_too_much(tmp_path, loaded, shards):
    with pytest.raises(MachineError, match=r"the memory of cpu ran out; set batch_size below 4, or free some of it"):
        read(Store(tmp_path / "store"), loaded, shards, "vision", Full(16), 0)


@with_cuda
@pytest.mark.parametrize("kind", ["embeddings", "activations"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_gpu_that_is_a_batch_ahead_leaves_the_bytes_of_one_that_waits(tmp_path, loaded, shards, encoder, kind):
    store, device = Store(tmp_path / "store"), torch.device("cuda")
    observer = observer_of(loaded, encoder, kind)
    waiting, ahead = (read(store, loaded, shards, encoder, observer, n, device=device).manifest.files for n in (0, 1))
    loaded.model.cpu()
    assert ahead == waiting
