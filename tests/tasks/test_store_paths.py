"""Where a store lies must not change what is in it: DuckDB takes folders named NAME=VALUE for columns."""

import pytest
import torch
from torch.testing import assert_close

from tasks.scoring.aggregate import LayerStatistics
from tests.tasks.evaluations import evaluated
from tests.tasks.test_aggregate import Pairs

STRANGE = "tag=v1/content=safe/pair_id=3/ss=9/rank=0/data_set=x/label=1"


@pytest.mark.parametrize("model", [0, 1])
def test_an_evaluation_is_the_same_in_a_folder_named_like_its_columns(tmp_path, model):
    plain, strange = (evaluated(tmp_path / folder, model) for folder in ("plain", STRANGE))
    names = sorted(path.name for path in plain.path.iterdir())
    assert names == sorted(path.name for path in strange.path.iterdir())
    for name in names:
        if name != "manifest.json":
            assert (plain.path / name).read_bytes() == (strange.path / name).read_bytes(), name


def test_statistics_are_the_same_in_a_folder_named_like_their_columns(tmp_path):
    folder = tmp_path / STRANGE
    pairs = Pairs(6, 5, 0, tags=["a", "b"] * 3).write(folder / "000000.parquet")
    (batch,) = LayerStatistics(folder, ["b"]).pairs()
    assert batch.pair_ids == pairs.ids[1::2]
    assert_close(batch.safe.norm, pairs.safe.norm[1::2])
    assert torch.equal(batch.unsafe.std, pairs.unsafe.std[1::2])
