"""Whether a pair went into sums: known where the sample beside them holds it, or holds all pairs."""

import pytest

from data_specs.schemas import pair_id
from tasks.extraction import windows
from tasks.tracing.pairs import holds_pair
from tests.cases.folded_bench import WINDOW_BYTES, FoldedBench, write_sized_shards

pytestmark = pytest.mark.slow

LIMIT = 6


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A bench, the ids of pairs that are summed, and those that the limit leaves out."""
    bench = FoldedBench(tmp_path_factory.mktemp("sums"))
    shards = write_sized_shards(bench.folder / "shards", (5, 4))
    ids = [pair_id(shard.sha256, sample.key) for shard in shards for sample in shard.samples]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_WINDOW_BYTES", WINDOW_BYTES)
        yield bench, shards, ids[:LIMIT], ids[LIMIT:]


@pytest.mark.parametrize("by_tag", [False, True])
@pytest.mark.parametrize(
    ("size", "layers"), [(2, "mlp_output"), (2, "visual.transformer.resblocks.?.mlp.*"), (LIMIT + 1, "mlp_output")]
)
def test_a_sample_tells_of_its_pairs_and_rows_and_samples_of_all_tell_of_every_one(case, by_tag, size, layers):
    bench, shards, summed, left_out = case
    config = bench.config(statistics="folded", sums_by_tag=by_tag, sample_pairs=size, layers=layers)
    store = bench.store(f"{by_tag}{size}{len(layers)}")
    made = bench.activations(shards, config, store, limit=LIMIT)
    names = {path.name for path in made.path.rglob("*.parquet")}
    assert "sums.parquet" in names
    found = [holds_pair(store, made.ref, each) for each in summed]
    beyond = {holds_pair(store, made.ref, each) for each in left_out}
    if "rows.parquet" in names or size > LIMIT:
        assert (found, beyond) == ([True] * LIMIT, {False})
    else:
        assert (found.count(True), found.count(None), beyond) == (size, LIMIT - size, {None})
    assert ("rows.parquet" in names) is ("*" in layers)
