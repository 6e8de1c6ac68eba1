"""Statistics in bytes, as rows and folded, before anything is made."""

import pytest

from tasks.extraction import windows
from tasks.lineage.planned import PlannedStore
from tasks.planning.statistics import statistics_bytes
from tasks.planning.work import work_of
from tests.cases.folded_bench import TAGS, WINDOW_BYTES, FoldedBench, write_sized_shards


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(windows, "_WINDOW_BYTES", WINDOW_BYTES)


def size_of(store):
    """What lies in a store, hard links once."""
    files = {path.stat().st_ino: path.stat().st_size for path in store.root.rglob("*") if path.is_file()}
    return sum(files.values())


@pytest.mark.slow
def test_either_way_is_foretold_in_bytes_and_only_what_is_lacking_in_samples(tmp_path):
    bench = FoldedBench(tmp_path)
    shards = write_sized_shards(tmp_path / "shards", (5, 4, 6))
    state = bench.loaded.model.state_dict()
    rows, folded = (bench.config(statistics=kept, sample_pairs=2) for kept in ("rows", "folded"))
    for config in (rows, folded):
        store = bench.store(config.vision.statistics)
        planned = PlannedStore(store.root)
        ref = bench.activations(shards, config, planned).ref
        bench.scored(ref, config, planned)
        item = planned.planned[ref]
        assert (item.n_parts, item.missing) == (3, [0, 1, 2])
        assert work_of(item, planned.planned, bench.loaded).images == 30
        both = statistics_bytes(item, planned.planned, state)
        assert not store.root.exists()
        bench.activations(shards, config, store)
        expected = both.rows if config is rows else both.folded
        assert expected / 2 < size_of(store) < expected * 2
        after = PlannedStore(store.root)
        assert bench.activations(shards, config, after).reused
    more = [*shards, *write_sized_shards(tmp_path / "more", (1, 1, 1, 2))[3:]]
    grown = PlannedStore(bench.store("folded").root)
    item = grown.planned[bench.activations(more, folded, grown).ref]
    assert (item.n_parts, item.missing) == (4, [3])
    assert work_of(item, grown.planned, bench.loaded).images == 4


@pytest.mark.slow
def test_of_sums_by_tag_each_tag_is_foretold_in_bytes(tmp_path):
    bench = FoldedBench(tmp_path)
    shards = write_sized_shards(tmp_path / "shards", (5, 4, 6))
    config = bench.config(statistics="folded", sums_by_tag=True, sample_pairs=2)
    planned = PlannedStore(tmp_path / "none")
    item = planned.planned[bench.activations(shards, config, planned).ref]
    found = statistics_bytes(item, planned.planned, bench.loaded.model.state_dict())
    bench.activations(shards, config, bench.store())
    expected = found.folded + (len(TAGS) - 1) * found.a_tag
    assert found.a_tag > found.folded / 3
    assert expected / 2 < size_of(bench.store()) < expected * 2


@pytest.mark.slow
def test_folded_bytes_do_not_grow_with_the_pairs_and_rows_do(tmp_path):
    bench = FoldedBench(tmp_path)
    config, found = bench.config(statistics="folded", sample_pairs=2), []
    for name, sizes in (("few", (8, 8)), ("many", (80, 80))):
        planned = PlannedStore(tmp_path / "none")
        ref = bench.activations(write_sized_shards(tmp_path / name, sizes), config, planned).ref
        found.append(statistics_bytes(planned.planned[ref], planned.planned, bench.loaded.model.state_dict()))
    few, many = found
    assert many.rows > 8 * few.rows
    assert many.folded == few.folded
