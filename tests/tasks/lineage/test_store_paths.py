"""Where a store lies must not change what is in it: libraries take names for patterns, URLs, options and columns."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.testing import assert_close

from data_specs.config_file import parse_config
from data_specs.shard_patterns import literal_pattern
from tasks.embeddings.pairs import read_pairs
from tasks.extraction.table_reader import connect, query, read_window, stream_rows
from tasks.extraction.table_reader import open_rows as open_parquet_rows
from tasks.scoring.aggregate import LayerStatistics
from tasks.shards.location import expand_locations
from tests.cases.evaluations import evaluated
from tests.cases.statistics import Pairs

COLUMNS = "tag=v1/content=safe/pair_id=3/ss=9/rank=0/data_set=x/label=1"
# As patterns, all of these also mean the neighbour.
NEIGHBOUR = "run1"
PATTERNS = ["run[1]", "run?", "run*", "[r]un1", "**", "r\\u[n]1"]
NAMES = [COLUMNS, *PATTERNS, "-x", "~", "#1 %41", "s3:", "C:", "file::x", "{a,b}", "new\nline", 'it\'s "é"', "a\\b"]


@pytest.mark.slow
@pytest.mark.parametrize("model", [0, 1])
def test_an_evaluation_is_the_same_in_a_folder_named_like_its_columns_or_like_a_pattern(tmp_path, model):
    # Other pairs under the same versions, as the pattern would find them.
    evaluated(tmp_path / NEIGHBOUR, model, ids=range(1, 61))
    plain = evaluated(tmp_path / "plain", model)
    names = sorted(path.name for path in plain.path.iterdir())
    for folder in (COLUMNS, "run[1]", "*"):
        strange = evaluated(tmp_path / folder, model)
        assert names == sorted(path.name for path in strange.path.iterdir())
        for name in names:
            if name != "manifest.json":
                assert (plain.path / name).read_bytes() == (strange.path / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_statistics_are_the_same_in_a_folder_of_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Pairs(6, 5, 9, tags=["a", "b"] * 3).write(tmp_path / NEIGHBOUR / "000000.parquet")
    pairs = Pairs(6, 5, 0, tags=["a", "b"] * 3).write(tmp_path / name / "000000.parquet")
    for folder in (tmp_path / name, (tmp_path / name).relative_to(tmp_path)):
        (batch,) = LayerStatistics(folder, ["b"]).pairs()
        assert batch.pair_ids == pairs.ids[1::2]
        assert_close(batch.safe.norm, pairs.safe.norm[1::2])
        assert torch.equal(batch.unsafe.std, pairs.unsafe.std[1::2])


@pytest.mark.slow
def test_embeddings_of_a_store_named_like_a_pattern_are_its_own(tmp_path):
    for root, first in ((NEIGHBOUR, 1), ("plain", 0), ("run[1]", 0)):
        evaluated(tmp_path / root, 0, ids=range(first, first + 60))
    found = {}
    for root in ("plain", "run[1]"):
        # The last is of the pairs, the others of zero-shot images.
        folders = [sorted((tmp_path / root / f"embeddings.{name}").iterdir())[-1] for name in ("text", "vision")]
        found[root] = read_pairs(*folders)
    assert found["plain"].pair_ids == found["run[1]"].pair_ids
    assert torch.equal(found["plain"].vision_unsafe, found["run[1]"].vision_unsafe)


def test_rows_carry_their_place(tmp_path):
    paths = [tmp_path / f"{name}.parquet" for name in "ba"]
    for number, path in enumerate(paths):
        pq.write_table(pa.table({"x": range(10 * number, 10 * number + 7), "y": range(7)}), path, row_group_size=3)
    sql = "SELECT * FROM found ORDER BY file_number, row_number"
    table = query(sql, {"found": stream_rows(paths, ("x",))})
    assert table.column_names == ["x", "file_number", "row_number"]
    assert table.column("x").to_pylist() == [*range(7), *range(10, 17)]
    assert table.column("file_number").to_pylist() == [0] * 7 + [1] * 7
    assert table.column("row_number").to_pylist() == [*range(7)] * 2
    with open_parquet_rows(paths[1]) as file:
        for start in range(7):
            for stop in range(start + 1, 8):
                window = read_window(file, start, stop, ("x",))
                assert window.column("x").to_pylist() == list(range(10 + start, 10 + stop))


def test_duckdb_can_open_no_file(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(Exception, match="disabled by configuration"):
        query(f"SELECT * FROM '{tmp_path}/x.parquet'", {}, connection=connect())


@pytest.mark.parametrize("name", [*NAMES, "{", "}", "{0..3}", "a}b{c"])
def test_a_folders_name_is_no_part_of_a_shard_pattern(tmp_path, name):
    base = tmp_path / name
    settings = {
        "name": "x",
        "model": {"architecture": "ViT-B-32", "weights": "openai"},
        "calibration": {"shards": ["c-{0..1}.tar"]},
        "evaluation": {"shards": ["t.tar"]},
    }
    config = parse_config(settings, base=base, source="test")
    assert expand_locations(config.calibration.shards) == [f"{base}/c-0.tar", f"{base}/c-1.tar"]
    assert expand_locations(config.evaluation.shards) == [f"{base}/t.tar"]
    assert expand_locations([literal_pattern(str(base))]) == [str(base)]


def test_a_shard_that_is_there_under_the_very_name_is_itself(tmp_path):
    path = tmp_path / "{a,b}.tar"
    assert len(expand_locations([str(path)])) == 2
    path.write_text("")
    assert expand_locations([str(path)]) == [str(path)]
