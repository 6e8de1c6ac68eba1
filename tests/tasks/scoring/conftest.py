"""Shards of a few pairs, and windows so small that some fill several: for tests of sums."""

import pytest

from tasks.extraction import windows
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
