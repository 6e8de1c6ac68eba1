"""Sets of sums: what is joined when, what a growing set keeps, and what comes of runs that die or meet others."""

import os
from itertools import count

import pytest

from data_specs.manifest import ArtifactRef
from tasks.lineage.trace import verify_lineage
from tasks.scoring.folded.layer import AnyLayerFolding, LayerFolding
from tests.cases.folded_bench import kept_parts

pytestmark = pytest.mark.usefixtures("small_windows")


@pytest.fixture(params=[False, True], ids=["one-sum", "by-tag"])
def config(bench, request):
    return bench.config(statistics="folded", sums_by_tag=request.param)


@pytest.mark.slow
def test_a_set_that_grows_reads_only_what_is_new_and_keeps_a_node_for_each_binary_digit(
    tmp_path, bench, config, shards, read_shards
):
    store = bench.store(str(tmp_path / "grown"))
    for n, kept in ((3, 2), (4, 1), (7, 3)):
        read_shards.clear()
        grown = bench.activations(shards[:n], config, store)
        assert read_shards == [shard.location for shard in shards[{3: 0, 4: 3, 7: 4}[n] : n]]
        assert len(kept_parts(store)) == kept
    at_once = bench.activations(shards, config, bench.store(str(tmp_path / "at-once")))
    assert at_once.ref == grown.ref
    assert at_once.manifest.files == grown.manifest.files
    # What is gone is no one's input: the record leads back to the shards.
    for artifact in (path for path in store.root.glob("activations.vision/*")):
        ref = ArtifactRef(kind="activations.vision", version=artifact.name)
        assert [item for item, _ in verify_lineage(store, ref)] == [ref]
    read_shards.clear()
    assert bench.activations(shards[:3], config, store).reused
    assert bench.activations(shards, config, store).reused
    assert read_shards == []


@pytest.mark.slow
def test_a_run_that_is_killed_anywhere_goes_on_and_comes_to_the_same_bytes(tmp_path, bench, config, shards):
    whole = bench.activations(shards[:6], config, bench.store(str(tmp_path / "whole")))
    kept = kept_parts(bench.store(str(tmp_path / "whole")))
    store, rename, calls, deaths = bench.store(str(tmp_path / "killed")), os.rename, count(1), 0

    class Killed(BaseException):
        pass

    def deadly(source, target):
        # What is published and what is removed is renamed: one time in three the process dies before or after.
        number = next(calls)
        if number % 6 == 3:
            raise Killed
        rename(source, target)
        if number % 6 == 0:
            raise Killed

    made = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", deadly)
        while made is None:
            try:
                made = bench.activations(shards[:6], config, store)
            except Killed:
                deaths += 1
                assert deaths < 50
    assert deaths > 3
    assert (made.ref, made.manifest.files) == (whole.ref, whole.manifest.files)
    assert kept_parts(store) == kept
    assert not list((store.root / ".scratch").glob("*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("late", "nth"), [("read", 1), ("join", 3)]
)  # at last, files of sums by tag are still to be read
def test_four_shards_that_a_run_over_two_joins_meanwhile_come_to_the_same_bytes(
    tmp_path, bench, config, shards, read_shards, monkeypatch, late, nth
):
    place = str(tmp_path / "store")
    alone = bench.activations(shards[:4], config, bench.store(str(tmp_path / "alone")))
    method, calls, others = getattr(AnyLayerFolding, late), count(1), []
    read_shards.clear()

    def called_late(self, *arguments):
        if next(calls) == nth:
            others.append(bench.activations(shards[:2], config, bench.store(place)))
        return method(self, *arguments)

    monkeypatch.setattr(AnyLayerFolding, late, called_late)
    made = bench.activations(shards[:4], config, bench.store(place))
    assert others[0].manifest.counts["samples_read"] == 0
    assert read_shards == [shard.location for shard in shards[:4]]
    assert (made.ref, made.manifest.files) == (alone.ref, alone.manifest.files)


@pytest.mark.slow
def test_what_is_soon_joined_again_is_not_written(tmp_path, bench, shards, monkeypatch):
    written, write = [], LayerFolding.write

    def counting(self, state, folder):
        written.append(folder)
        write(self, state, folder)

    monkeypatch.setattr(LayerFolding, "write", counting)
    made = bench.activations(shards[:4], bench.config(statistics="folded"), bench.store(str(tmp_path / "store")))
    n_layers = len({entry.path.rsplit("/", 1)[0] for entry in made.manifest.files})
    assert len(written) == n_layers * (4 + 1)  # four parts and what they come to
