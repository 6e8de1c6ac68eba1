import numpy as np
import pyarrow as pa
import pytest
import torch

from data_specs.errors import DataError
from data_specs.schemas import embeddings_schema
from tasks.embeddings.observer import FOLDER, EmbeddingObserver
from tasks.embeddings.pairs import gathered, read_pairs
from tasks.extraction.columns import vector_column
from tasks.extraction.shard_pass import NotFinite
from tests.cases.statistics import write_statistics


def test_an_embedding_that_is_not_finite_is_refused_by_its_row():
    values = torch.ones(3, 4)
    values[2, 1] = float("inf")
    with pytest.raises(NotFinite, match="the embedding") as caught:
        EmbeddingObserver(4).rows({}, values)
    assert caught.value.row == 2


def embedding_rows(ids, contents, values):
    columns = [pa.array(ids), pa.array(contents), pa.array(["hate"] * len(ids)), vector_column(values)]
    return pa.RecordBatch.from_arrays(columns, schema=embeddings_schema(values.shape[1]))


def write_embeddings(folder, ids, seed):
    """Two files; returns each embedding by id and side."""
    values = torch.randn(2 * len(ids), 6, generator=torch.Generator().manual_seed(seed))
    rows = embedding_rows([i for i in ids for _ in range(2)], ["safe", "unsafe"] * len(ids), values)
    half = len(ids) // 2 * 2
    write_statistics(folder / FOLDER / "000000.parquet", [rows.slice(0, half)])
    write_statistics(folder / FOLDER / "000001.parquet", [rows.slice(half)])
    return {(i, side): values[2 * n + k] for n, i in enumerate(ids) for k, side in enumerate(("safe", "unsafe"))}


def test_pairs_are_joined_by_identity_in_shard_order_and_only_where_all_four_members_are(tmp_path):
    texts = write_embeddings(tmp_path / "text", [f"a/{i}" for i in (5, 3, 9, 1, 7)], 0)
    images = write_embeddings(tmp_path / "vision", [f"a/{i}" for i in (1, 2, 3, 5, 7, 8)], 1)
    pairs = read_pairs(tmp_path / "text", tmp_path / "vision")
    assert pairs.pair_ids == ["a/5", "a/3", "a/1", "a/7"]
    assert pairs.tags == ["hate"] * 4
    for name, side, source in (
        ("text_safe", "safe", texts),
        ("text_unsafe", "unsafe", texts),
        ("vision_safe", "safe", images),
        ("vision_unsafe", "unsafe", images),
    ):
        assert torch.equal(getattr(pairs, name), torch.stack([source[i, side] for i in pairs.pair_ids]))


def test_embeddings_without_a_common_pair_are_refused(tmp_path):
    write_embeddings(tmp_path / "text", ["a/1", "a/2"], 0)
    write_embeddings(tmp_path / "vision", ["b/1", "b/2"], 1)
    with pytest.raises(DataError, match="no pair has all four members"):
        read_pairs(tmp_path / "text", tmp_path / "vision")


def test_pairs_of_a_span_are_those_of_all_in_their_order(tmp_path):
    ids = [f"a/{i}" for i in range(40)]
    for seed, name in enumerate(("text", "vision")):
        write_embeddings(tmp_path / name, ids, seed)
    every = read_pairs(tmp_path / "text", tmp_path / "vision")
    parts = [read_pairs(tmp_path / "text", tmp_path / "vision", span) for span in ((0.0, 0.4), (0.4, 1.0))]
    assert sorted(pair for part in parts for pair in part.pair_ids) == sorted(ids)
    for part in parts:
        rows = [every.pair_ids.index(pair) for pair in part.pair_ids]
        assert rows == sorted(rows)
        assert part.tags == [every.tags[row] for row in rows]
        for member in ("text_safe", "text_unsafe", "vision_safe", "vision_unsafe"):
            assert getattr(part, member).equal(getattr(every, member)[rows])
    with pytest.raises(DataError, match="evaluation pairs: none of its samples lies in the part from 0 to 1e-09"):
        read_pairs(tmp_path / "text", tmp_path / "vision", (0.0, 1e-9))


def test_embeddings_are_found_at_any_places_through_several_files(tmp_path):
    values = write_embeddings(tmp_path, [f"a/{i}" for i in range(50)], 3)
    rows = torch.stack(list(values.values()))
    files = sorted((tmp_path / FOLDER).glob("*.parquet"))
    places = np.random.default_rng(0).integers(0, 100, 300)
    found = gathered(files, {"some": places, "none": places[:0], "last": np.array([99])})
    assert found["some"].equal(rows[torch.from_numpy(places)])
    assert found["none"].shape == (0, 6)
    assert found["last"].equal(rows[99:])


@pytest.mark.slow
@pytest.mark.parametrize("rows_at_once", [1, 8, 20, 1 << 16])
def test_shards_that_are_joined_some_at_a_time_give_the_pairs_of_all_at_once(tmp_path, monkeypatch, rows_at_once):
    monkeypatch.setattr("tasks.embeddings.pairs._ROWS_AT_ONCE", rows_at_once)
    generator = np.random.default_rng(4)
    digests = [f"{number:012x}" for number in range(7)]
    for name, order in (("text", range(7)), ("vision", generator.permutation(7))):
        for place, number in enumerate(order):
            keys = generator.permutation(6)[: generator.integers(1, 7)]
            ids = [f"{digests[number]}/{key}" for key in keys for _ in range(2)]
            values = torch.from_numpy(generator.normal(size=(len(ids), 6)).astype(np.float32))
            rows = embedding_rows(ids, ["safe", "unsafe"] * len(keys), values)
            for file in (f"{place:06d}-{digests[number]}", f"all/{place}"):
                write_statistics(tmp_path / name / FOLDER / f"{file}.parquet", [rows])
    whole = {name: tmp_path / f"whole-{name}" for name in ("text", "vision")}
    for name, folder in whole.items():
        folder.mkdir()
        # Names that do not tell which shard a file is of.
        (tmp_path / name / FOLDER / "all").rename(folder / FOLDER)
    some, every = read_pairs(tmp_path / "text", tmp_path / "vision"), read_pairs(whole["text"], whole["vision"])
    assert 0 < len(some.pair_ids) < 7 * 6
    assert (some.pair_ids, some.tags) == (every.pair_ids, every.tags)
    for member in ("text_safe", "text_unsafe", "vision_safe", "vision_unsafe"):
        assert getattr(some, member).equal(getattr(every, member))
