"""Means and variances by channel, side and tag, against numpy in float64."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from data_specs.schemas import activation_stats_schema
from tasks.scoring.folded import moments
from tasks.scoring.folded.moments import Moments
from tests.cases.statistics import statistics_rows

TAGS = ["war", "hate", None, "war", "war", None, "theft", "hate", "war", "hate", None]  # of theft there is one pair


@pytest.fixture(scope="module")
def rows():
    """Two rows a pair, at levels that differ a thousandfold between channels and by a third between tags."""
    generator = np.random.default_rng(0)
    tags = [tag for tag in TAGS for _ in range(2)]
    level = np.array([{"war": 1.0, "hate": 1.3, None: 0.7, "theft": 1.1}[tag] for tag in tags])[:, None]
    values = level * np.geomspace(0.01, 10, 6) * np.exp(generator.normal(0, 0.1, (2, len(tags), 6)))
    norm, std = (torch.from_numpy(each.astype(np.float32)) for each in values)
    ids = [f"a/{place // 2}" for place in range(len(tags))]
    return pa.Table.from_batches([statistics_rows(ids, ["safe", "unsafe"] * len(TAGS), tags, norm, std)])


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_each_side_and_tag_has_the_mean_and_the_variance_of_its_rows(rows, monkeypatch, at_once):
    monkeypatch.setattr(moments, "_GROUPS_AT_ONCE", at_once)
    found = Moments.of_rows(rows).table().to_pylist()
    given = rows.to_pylist()
    assert {(row["content"], row["tag"]) for row in found} == {(row["content"], row["tag"]) for row in given}
    for row in found:
        own = [each for each in given if (each["content"], each["tag"]) == (row["content"], row["tag"])]
        assert row["n"] == len(own)
        for name in ("norm", "std"):
            values = np.array([each[name] for each in own], np.float64)
            np.testing.assert_allclose(row[f"{name}_mean"], values.mean(axis=0), rtol=3e-8)
            np.testing.assert_allclose(row[f"{name}_variance"], values.var(axis=0), rtol=1e-5, atol=0)


def test_of_no_rows_there_are_none():
    assert Moments.of_rows(activation_stats_schema(6).empty_table()).table().num_rows == 0
