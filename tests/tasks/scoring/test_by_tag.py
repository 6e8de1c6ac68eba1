"""A sum a tag: scores of any tags without another pass, those of one tag equal to the last bit with those of rows."""

import json
import weakref

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data_specs.errors import DataError
from data_specs.run_config import EncoderConfig
from tasks.scoring.folded import by_tag
from tasks.scoring.folded.by_tag import TagFolding
from tasks.scoring.folded.layer import Folding, LayerFolding
from tasks.scoring.folded.parts import ShardWindows
from tasks.scoring.joined.layer import SUMMED
from tasks.scoring.layer_scores import scores_of_sums
from tests.cases.statistics import Pairs, random_weight, statistics_rows

WAYS = [
    {"scorer": "uwm", "aggregation": "mean_of_ratios"},
    {"scorer": "uwm", "aggregation": "ratio_of_means"},
    {"scorer": "unsafe_only"},
    {"scorer": "difference"},
]
by_way = pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=pytest.mark.slow if number else (), id="-".join(way.values()))
        for number, way in enumerate(WAYS)
    ],
)

pytestmark = pytest.mark.usefixtures("small_windows")

WIDTH, N_OUT = 128, 7


def by_tags(bench, tags=None, **vision):
    return bench.config(tags=tags, statistics="folded", sums_by_tag=True, **vision)


@by_way
def test_scores_of_one_tag_are_those_of_rows_to_the_last_bit_and_no_shard_is_read_for_another(
    tmp_path, bench, rows_store, shards, read_shards, way
):
    store, found = bench.store(str(tmp_path)), {}
    for tags in (["hate"], ["war"], ["war", "no such"]):
        found[tags[0]] = bench.scores(shards, by_tags(bench, tags, **way), store)
        assert read_shards == [shard.location for shard in shards]
        assert bench.activations(shards, by_tags(bench, tags, **way), store).reused
    read_shards.clear()
    for tag, scores in found.items():
        expected = bench.scores(shards, bench.config(tags=[tag], **way), rows_store)
        assert scores.keys() == expected.keys() != set()
        for layer, values in expected.items():
            assert np.array_equal(scores[layer], values)
    assert not np.array_equal(*(next(iter(scores.values())) for scores in found.values()))


@pytest.mark.slow
@by_way
def test_scores_of_several_tags_are_those_of_rows_but_for_the_last_digits_of_float32(bench, rows_store, shards, way):
    store = bench.store("several")
    for tags in (["war", "hate"], None):
        found = bench.scores(shards, by_tags(bench, tags, **way), store)
        expected = bench.scores(shards, bench.config(tags=tags, **way), rows_store)
        if way["scorer"] == "difference":  # of two means, which tells less than either of its own size
            unsafe = bench.scores(shards, bench.config(tags=tags, scorer="unsafe_only"), rows_store)
            scale = {layer: 2 * unsafe[layer] - values for layer, values in expected.items()}
        else:
            scale = expected
        for layer, values in expected.items():
            assert np.max(np.abs(found[layer] - values) / scale[layer]) < 6e-7


def write_shards(folder, pairs, way, weight, n_shards=3):
    """The sums of random pairs that lie in several shards, and what each shard's record says of them."""
    layer, rows, counts = TagFolding(weight, Folding(chosen_by(way), None), "x"), pairs.rows(), []
    size = 2 * -(-len(pairs.ids) // n_shards)
    for number in range(n_shards):
        shard = ShardWindows(layer, rows.schema, frozenset())
        shard.take(rows.slice(number * size, size))
        state = shard.end()
        counts.append(layer.counts(state))
        layer.write(state, folder / str(number))
    return counts


def write_joined(folder, counts, way, weight):
    """Join what was written of shards; returns what the record of all says."""
    layer = TagFolding(weight, Folding(chosen_by(way), None), "x")
    joined, *others = (layer.read(folder / str(number), each) for number, each in enumerate(counts))
    for later in others:
        joined = layer.join(joined, later)
    with pytest.raises(ValueError, match="counted when they are made"):
        layer.counts(joined)
    layer.write(joined, folder / "joined")
    return layer.counts(joined)


def scores_of(folder, pairs, way, weight, tags=None):
    """Scores of random pairs whose sums are written, read, joined and read again."""
    counts = write_joined(folder, write_shards(folder, pairs, way, weight), way, weight)
    wanted = TagFolding(weight, Folding(chosen_by(way), tags), "x")
    return scores_of_sums(wanted.scored(wanted.read(folder / "joined", counts)))


def chosen_by(way, *, sums_by_tag=True):
    return EncoderConfig(layers="x", weight_by_magnitude=False, statistics="folded", sums_by_tag=sums_by_tag, **way)


def naive(pairs, weight, way, tags):
    """The scores of the wanted pairs, in float64 and without any product, and the size that errors are relative to."""
    magnitude = weight.double().abs().numpy()
    saliency = {}
    for side in ("safe", "unsafe"):
        stats = getattr(pairs, side)
        saliency[side] = np.stack(
            [
                np.outer((magnitude * norm).mean(axis=1), (magnitude * norm).mean(axis=0)) / (std + 1e-8)
                for norm, std, tag in zip(
                    stats.norm.double().numpy(), stats.std.double().numpy(), pairs.tags, strict=True
                )
                if tags is None or tag in tags
            ]
        )
    safe, unsafe = saliency["safe"], saliency["unsafe"]
    if way.get("aggregation") == "mean_of_ratios":
        scores = (unsafe / safe).mean(axis=0)
    elif way["scorer"] == "uwm":
        scores = unsafe.mean(axis=0) / safe.mean(axis=0)
    elif way["scorer"] == "unsafe_only":
        scores = unsafe.mean(axis=0)
    else:
        return unsafe.mean(axis=0) - safe.mean(axis=0), unsafe.mean(axis=0) + safe.mean(axis=0)
    return scores, scores


@by_way
@pytest.mark.parametrize("tags", [("a", "c"), None], ids=["two-tags", "all"])
def test_scores_of_several_tags_are_the_equations_written_out(tmp_path, way, tags):
    seed = int(np.random.default_rng().integers(1 << 30))
    pairs = Pairs(40, WIDTH, seed, tags=["a", None, "b", "c", "a", None, "c", "c"] * 5)
    weight = random_weight(N_OUT, WIDTH, seed)
    found, counts = scores_of(tmp_path, pairs, way, weight, tags)
    expected, scale = naive(pairs, weight, way, tags)
    assert counts["n_pairs"] == (40 if tags is None else 25)
    worst = np.max(np.abs(found.numpy() - expected) / scale)
    assert worst < 2e-6, (worst, seed)


def test_sums_of_several_tags_are_added_by_name_and_those_without_a_tag_last(tmp_path):
    way = WAYS[0]
    # In each tag's order of appearance another order of additions would come to other digits.
    pairs, weight = (
        Pairs(40, WIDTH, 3, tags=[None, "c", "b", "a", "ä", None, "b", "c"] * 5),
        random_weight(N_OUT, WIDTH),
    )
    found, _ = scores_of(tmp_path, pairs, way, weight)
    total = torch.zeros(N_OUT, WIDTH, dtype=torch.float64)
    sums = pq.read_table(tmp_path / "joined/sums.parquet")
    tags = sums.column("tag").to_pylist()[::N_OUT]
    assert tags == ["a", "b", "c", "ä", None]
    for place in range(len(tags)):
        values = sums.column("pairs").slice(place * N_OUT, N_OUT).to_pylist()
        total += torch.tensor(values, dtype=torch.float64)
    assert torch.equal(found, (total / 40).float())


def test_a_tags_sums_lie_behind_each_other_for_sql_and_the_record_counts_their_pairs(tmp_path, bench, shards):
    config = by_tags(bench, sample_pairs=5)
    made = bench.activations(shards, config, bench.store(str(tmp_path)))
    counts = made.manifest.counts[SUMMED]["by_tag"]
    assert [item["tag"] for item in counts] == ["hate", "war", None]
    assert sum(item["pairs"] for item in counts) == sum(len(shard.samples) for shard in shards)
    paths = sorted(made.path.rglob("sums.parquet"))
    assert len(paths) == 2
    for path in paths:
        file = pq.ParquetFile(path)
        assert [file.read_row_group(i, ["tag"]).column(0).unique().to_pylist() for i in range(file.num_row_groups)] == [
            [item["tag"]] for item in counts
        ]
        rows = duckdb.sql(f"SELECT tag, count(*), count(pairs), max(output) FROM '{path}' GROUP BY tag").fetchall()
        n_out = file.metadata.num_rows // 3
        assert sorted(rows, key=lambda row: row[0] or "~") == [
            (item["tag"], n_out, n_out, n_out - 1) for item in counts
        ]
        assert {each.name for each in path.parent.iterdir()} == {"sums.parquet", "channels.parquet", "sample.parquet"}


def test_a_sum_of_a_single_product_keeps_its_precision_and_a_side_that_a_tag_lacks_is_null(tmp_path):
    way, weight = WAYS[1], random_weight(N_OUT, WIDTH)
    pairs = Pairs(9, WIDTH, 1)
    # Windows of three samples of each side: of c there is one window, and of b one side alone.
    tags = ["a"] * 6 + ["b"] * 3 + ["a"] * 3 + ["c"] * 6
    sides = ["safe", "unsafe"] * 3 + ["unsafe"] * 3 + ["safe", "unsafe", "safe"] + ["safe", "unsafe"] * 3
    norm, std = (torch.cat([getattr(pairs.safe, name), getattr(pairs.unsafe, name)]) for name in ("norm", "std"))
    rows = statistics_rows([f"s/{i}" for i in range(18)], sides, tags, norm, std)
    found = {}
    for by in (True, False):
        for tag in "abc":
            chosen = chosen_by(way, sums_by_tag=by)
            kind = TagFolding if by else LayerFolding
            layer = kind(weight, Folding(chosen, (tag,)), "x")
            shard = ShardWindows(layer, rows.schema, frozenset())
            shard.take(rows)
            state = shard.end()
            counts = layer.counts(state)
            layer.write(state, tmp_path / f"{by}{tag}")
            found[by, tag] = layer.scored(layer.read(tmp_path / f"{by}{tag}", counts))
    for tag in "ac":
        assert torch.equal(found[True, tag].scores(), found[False, tag].scores())
    for by in (True, False):
        with pytest.raises(DataError, match=r"^no safe sample to score$"):
            found[by, "b"].scores()
    file = pq.ParquetFile(tmp_path / "Truea/sums.parquet")
    table = file.read().to_pylist()
    assert {(row["tag"], row["safe"] is None, row["unsafe"] is None) for row in table} == {
        ("a", False, False),
        ("b", True, False),
        ("c", False, False),
    }
    single = json.loads(file.metadata.metadata[b"float32"])
    assert ["b", "unsafe"] in single
    assert ["c", "safe"] in single
    assert ["a", "safe"] not in single


@pytest.mark.parametrize("way", WAYS[:2], ids=lambda way: way["aggregation"])
def test_a_tag_that_no_sample_has_is_refused_in_the_words_of_rows(tmp_path, bench, rows_store, shards, way):
    said = []
    for config, store in (
        (bench.config(tags=["no such"], **way), rows_store),
        (by_tags(bench, ["no such"], **way), bench.store(str(tmp_path))),
    ):
        with pytest.raises(DataError) as refused:
            bench.scores(shards, config, store)
        said.append(str(refused.value))
    assert said[0] == said[1]


@pytest.mark.slow
@by_way
def test_how_rows_are_batched_changes_no_bit(tmp_path, way):
    chosen = chosen_by(way)
    rows, written = Pairs(11, WIDTH, 0, tags=["a", "b"] * 5 + [None]).rows(), []
    for batch in (1, 2, 7, 22):
        layer = TagFolding(random_weight(16, WIDTH), Folding(chosen, None), "x")
        shard = ShardWindows(layer, rows.schema, frozenset())
        for start in range(0, rows.num_rows, batch):
            shard.take(rows.slice(start, batch))
        layer.write(shard.end(), tmp_path / str(batch))
        written.append({path.name: path.read_bytes() for path in (tmp_path / str(batch)).iterdir()})
    assert all(one == written[0] for one in written)


def test_of_sums_that_are_joined_one_tag_is_in_memory_at_a_time(tmp_path, monkeypatch):
    weight, alive, most = random_weight(N_OUT, WIDTH), weakref.WeakSet(), []
    counts = write_shards(tmp_path, Pairs(40, WIDTH, 5, tags=["a", None, "b", "c"] * 10), WAYS[0], weight)

    class Watched(by_tag.Sums):
        def __init__(self, names):
            super().__init__(names)
            alive.add(self)
            most.append(len(alive))

    monkeypatch.setattr(by_tag, "Sums", Watched)
    write_joined(tmp_path, counts, WAYS[0], weight)
    assert len(most) == 3 * 4
    assert max(most) == 2


def test_a_pair_without_a_ratio_is_refused_whatever_its_tag_is():
    pairs = Pairs(11, WIDTH, 0, tags=["a"] * 7 + ["b"] * 4)
    pairs.safe.norm[7, 2] = 0
    rows = pairs.rows()
    chosen = chosen_by(WAYS[0])
    shard = ShardWindows(
        TagFolding(random_weight(16, WIDTH), Folding(chosen, ("a",)), "blocks.3.out"), rows.schema, frozenset()
    )
    with pytest.raises(
        DataError, match=r"^layer blocks\.3\.out: pair a/0007: the unsafe/safe ratio of input channel 2"
    ):
        shard.take(rows)
