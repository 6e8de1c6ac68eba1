"""Shards of a few pairs, and windows so small that some fill several: for tests of sums."""

import pytest

from tasks.extraction import windows
from tasks.extraction.shard_pass import ShardPass
from tests.cases.folded_bench import SIZES, WINDOW_BYTES, FoldedBench, write_sized_shards


@pytest.fixture(scope="module")
def small_windows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_WINDOW_BYTES", WINDOW_BYTES)
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return FoldedBench(tmp_path_factory.mktemp("folded"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_sized_shards(tmp_path_factory.mktemp("shards"), SIZES)


@pytest.fixture(scope="module")
def rows_store(bench):
    return bench.store("rows")


@pytest.fixture
def read_shards(monkeypatch):
    """The shards that went through the model, in order."""
    read = []
    run_shard = ShardPass.run_shard

    def counting(self, index, build):
        read.append(self._plans[index].shard.location)
        return run_shard(self, index, build)

    monkeypatch.setattr(ShardPass, "run_shard", counting)
    return read
