"""Folded statistics: scores equal to the last bit with those of rows."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from data_specs.errors import DataError, MachineError
from data_specs.folding import sum_names
from data_specs.run_config import EncoderConfig
from data_specs.schemas import activation_stats_schema
from tasks.lineage.circumstances import RunContext
from tasks.scoring.folded.by_tag import layer_folding
from tasks.scoring.folded.layer import Folding, LayerFolding, Unfolded
from tasks.scoring.folded.parts import FoldedPartMaker, ShardWindows
from tasks.scoring.folded.sample import drawn
from tests.cases.shard_files import image_bytes, inspected, write_tar
from tests.cases.statistics import Pairs, random_weight

WAYS = [
    {"scorer": "uwm", "aggregation": "mean_of_ratios"},
    {"scorer": "uwm", "aggregation": "ratio_of_means"},
    {"scorer": "unsafe_only"},
    {"scorer": "difference"},
]


pytestmark = pytest.mark.usefixtures("small_windows")


def require_equal(found, expected):
    assert found.keys() == expected.keys() != set()
    for layer, values in expected.items():
        assert np.isfinite(values).all()
        assert np.array_equal(found[layer], values), layer


CUT = {"tags": ["war", "hate"], "limit": 8}


@pytest.mark.slow
def test_pictures_are_decoded_by_the_decoder_of_the_settings(tmp_path, bench):
    members = [
        (f"k{i}.{side}.jpg", image_bytes(2 * i + number, "JPEG", (90, 70)))
        for i in range(4)
        for number, side in enumerate(("safe", "unsafe"))
    ]
    shards, found = [inspected(write_tar(tmp_path / "0.tar", members))], {}
    for kept in ("rows", "folded"):
        config = bench.config(statistics=kept)
        for decoder in ("pillow", "torchvision"):
            own = config.model_copy(update={"decoder": decoder})
            found[kept, decoder] = bench.scores(shards, own, bench.store(str(tmp_path / kept)))
    for decoder in ("pillow", "torchvision"):
        require_equal(found["folded", decoder], found["rows", decoder])
    layer = next(iter(found["rows", "pillow"]))
    assert not np.array_equal(found["folded", "pillow"][layer], found["folded", "torchvision"][layer])


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))
@pytest.mark.parametrize(
    "cut", [pytest.param({}, id="all", marks=pytest.mark.slow), pytest.param(CUT, id="tags-and-limit")]
)
def test_scores_of_folded_statistics_are_those_of_rows_to_the_last_bit(tmp_path, bench, rows_store, shards, way, cut):
    rows, folded = (bench.config(tags=cut.get("tags"), statistics=kept, **way) for kept in ("rows", "folded"))
    expected = bench.scores(shards, rows, rows_store, limit=cut.get("limit"))
    store = bench.store(str(tmp_path))
    require_equal(bench.scores(shards, folded, store, limit=cut.get("limit")), expected)
    assert not list(store.root.glob("activations.vision*/*/**/000*.parquet"))


def naive(made, weights):
    """Mean over pairs of the unsafe/safe ratio of each weight's score, in float64 and without any product, from kept rows."""
    found = {}
    for layer, weight in weights.items():
        magnitude = weight.double().abs().numpy()
        scores = {}
        for row in rows_of(made, layer).to_pylist():
            norm, std = np.array(row["norm"]), np.array(row["std"])
            over_inputs, over_outputs = (magnitude * norm).mean(axis=1), (magnitude * norm).mean(axis=0)
            scores[row["pair_id"], row["content"]] = np.outer(over_inputs, over_outputs) / (std + 1e-8)
        ids = [pair_id for pair_id, content in scores if content == "safe"]
        found[layer] = np.mean([scores[each, "unsafe"] / scores[each, "safe"] for each in ids], axis=0)
    return found


def rows_of(made, layer):
    files = sorted((made.path / f"encoder=vision/layer={layer}").glob("*.parquet"))
    return pa.concat_tables([pq.ParquetFile(path).read() for path in files])


@pytest.mark.slow
def test_scores_of_folded_statistics_are_the_equations_written_out(bench, rows_store, shards):
    rows, folded = (bench.config(statistics=kept) for kept in ("rows", "folded"))
    made = bench.activations(shards, rows, rows_store)
    expected = naive(made, bench.loaded.target_weights("vision", "mlp_output"))
    found = bench.scores(shards, folded, bench.store("oracle"))
    for layer, values in expected.items():
        np.testing.assert_allclose(found[layer], values, rtol=3e-6)


FIRST_LAYER = "visual.transformer.resblocks.0.mlp.c_proj"


@pytest.mark.slow
def test_layers_whose_windows_differ_in_size_are_folded_beside_each_other(bench, rows_store, shards):
    # Of the narrow layers all is one window and stays as rows, while of the wide ones it is summed.
    some, both = shards[:3], {"layers": "visual.transformer.resblocks.?.mlp.*"}
    rows, folded = bench.config(**both), bench.config(statistics="folded", **both)
    made = bench.activations(some, folded, bench.store("widths"))
    assert {path.name for path in made.path.rglob("*.parquet")} >= {"rows.parquet", "sums.parquet"}
    expected = bench.scored(bench.activations(some, rows, rows_store).ref, rows, rows_store)
    require_equal(bench.scored(made.ref, folded, bench.store("widths")), expected)


@pytest.mark.slow
def test_beside_the_sums_lie_moments_of_every_channel_and_a_sample_of_pairs(bench, rows_store, shards):
    rows = rows_of(bench.activations(shards, bench.config(), rows_store), FIRST_LAYER).to_pylist()
    made = bench.activations(shards, bench.config(statistics="folded", sample_pairs=5), bench.store("beside"))
    folder = made.path / f"encoder=vision/layer={FIRST_LAYER}"
    channels = pq.read_table(folder / "channels.parquet").to_pylist()
    assert {(row["content"], row["tag"]) for row in channels} == {(row["content"], row["tag"]) for row in rows}
    assert len(channels) == 6
    for row in channels:
        group = [one for one in rows if (one["content"], one["tag"]) == (row["content"], row["tag"])]
        assert row["n"] == len(group)
        for name in ("norm", "std"):
            values = np.array([one[name] for one in group])
            np.testing.assert_allclose(row[f"{name}_mean"], values.mean(axis=0), rtol=1e-8)
            np.testing.assert_allclose(row[f"{name}_variance"], values.var(axis=0), rtol=1e-5, atol=1e-12)
    sample = pq.read_table(folder / "sample.parquet")
    assert sample.schema.equals(activation_stats_schema(128), check_metadata=True)
    # The same pairs whatever shards they lie in, and their rows as they were taken.
    chosen = drawn([row["pair_id"] for row in rows], 5)
    assert len(chosen) == 5
    assert sample.to_pylist() == [row for row in rows if row["pair_id"] in chosen]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))
def test_how_rows_are_batched_changes_no_bit(tmp_path, way):
    chosen = EncoderConfig(layers="x", weight_by_magnitude=False, statistics="folded", **way)
    rows, written = Pairs(11, 128, 0, tags=["a", "b"] * 5 + [None]).rows(), []
    for batch in (1, 2, 7, 22):
        layer = LayerFolding(random_weight(16, 128), Folding(chosen, None), "x")
        shard = ShardWindows(layer, rows.schema, drawn(rows.column("pair_id").to_pylist(), 4))
        for start in range(0, rows.num_rows, batch):
            shard.take(rows.slice(start, batch))
        folder = tmp_path / str(batch)
        state = shard.end()
        assert set(layer.counts(state)) == set(sum_names(chosen.scorer, chosen.aggregation))
        layer.write(state, folder)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert {*written[0]} == {"sums.parquet", "channels.parquet", "sample.parquet"}
    assert all(one == written[0] for one in written)


def test_a_pair_without_a_ratio_is_refused_with_its_layer_as_soon_as_it_is_read():
    pairs = Pairs(11, 128, 0)
    pairs.safe.norm[7, 2] = 0
    rows = pairs.rows()
    chosen = EncoderConfig(layers="x", weight_by_magnitude=False, statistics="folded")
    shard = ShardWindows(
        LayerFolding(random_weight(16, 128), Folding(chosen, None), "blocks.3.out"), rows.schema, frozenset()
    )
    with pytest.raises(
        DataError, match=r"^layer blocks\.3\.out: pair a/0007: the unsafe/safe ratio of input channel 2 is NaN"
    ):
        shard.take(rows)


@pytest.mark.parametrize("by_tag", [False, True])
def test_a_pair_without_a_ratio_is_refused_where_its_shard_was_one_window_and_the_layer_is_named_once(tmp_path, by_tag):
    pairs = Pairs(3, 128, 0)
    pairs.safe.norm[1, 2] = 0
    chosen = EncoderConfig(layers="x", weight_by_magnitude=False, statistics="folded", sums_by_tag=by_tag)
    layer = layer_folding(random_weight(16, 128), Folding(chosen, None), "blocks.3.out")
    shards = [Unfolded(pa.Table.from_batches([each.rows()])) for each in (pairs, Pairs(3, 128, 1, prefix="b"))]
    with pytest.raises(
        DataError, match=r"^layer blocks\.3\.out: pair a/0001: the unsafe/safe ratio of input channel 2 is"
    ):
        layer.write(layer.join(*shards), tmp_path)
    # What writes the scores of a layer names it then.
    with pytest.raises(DataError, match=r"^pair a/0001: the unsafe/safe ratio of input channel 2 is NaN"):
        layer.scored(shards[0])


def test_a_device_without_room_for_sums_is_told_with_what_helps(bench, shards, tmp_path, monkeypatch):
    def full(self, rows):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(ShardWindows, "take", full)
    with pytest.raises(MachineError, match=r"the memory of cpu ran out; fold fewer layers, and leave sums_by_tag out"):
        bench.activations(shards[:1], bench.config(statistics="folded"), bench.store(str(tmp_path)))


@pytest.mark.parametrize("by_tag", [False, True])
def test_the_part_maker_of_a_folded_set_is_a_small_value(bench, shards, tmp_path, monkeypatch, by_tag):
    sent = []
    make = FoldedPartMaker.make

    def caught(self, parts, *rest):
        sent.append(pickle.dumps((self, parts[0])))
        return make(self, parts, *rest)

    monkeypatch.setattr(FoldedPartMaker, "make", caught)
    config = bench.config(statistics="folded", sums_by_tag=by_tag)
    bench.activations(shards[1:2], config, bench.store(str(tmp_path / "here")))
    monkeypatch.undo()
    maker, part = pickle.loads(sent[0])
    assert len(sent[0]) < 10_000
    there = bench.store(str(tmp_path / "there"))
    assert maker(part, there, RunContext()).manifest.files == bench.store(str(tmp_path / "here")).check(part.ref).files
