"""Captions of two models from their judgements to their differences, in a store."""

import json

import pyarrow.parquet as pq
import pytest

from data_specs.errors import DataError
from data_specs.judging import JUDGE
from tasks.captioning.task import judge_captions, score_captions
from tasks.evaluation.captions.task import compare_captions, evaluate_captions
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tests.cases.captions import ANGRY, CALM, stored_captions

BEFORE = [(CALM, ANGRY)] * 6 + [(CALM, "a knife"), (ANGRY, "…")]
AFTER = [(CALM, CALM)] * 4 + [(CALM, ANGRY)] * 2 + [(CALM, "a knife"), (CALM, CALM)]


def evaluated(store, said, name, folder):
    (folder / "list").write_text("knife")
    judges = [{"kind": "words"}, {"kind": "words", "name": "knives", "path": str(folder / "list")}]
    captions = stored_captions(store, said, name)
    scores = score_captions.fn(captions, "auto", store, RunContext()).ref
    judged = {
        judge.get("name", "words"): judge_captions.fn(captions, JUDGE.validate_python(judge), store, RunContext()).ref
        for judge in judges
    }
    return evaluate_captions.fn(captions, scores, judged, 0, store, RunContext())


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    store = Store(folder / "store")
    made = [evaluated(store, said, name, folder) for said, name in ((BEFORE, "original"), (AFTER, "edited"))]
    return store, *made


def test_an_evaluation_holds_each_sides_share_with_its_bounds(done):
    store, before, _ = done
    found = json.loads((store.path(before.ref) / "metrics.json").read_text())
    assert found["n_captions"] == 16
    assert found["unsafe_share.unsafe.words"] == 100
    assert found["unsafe_share_at_least.unsafe.words"] == pytest.approx(100 * 7 / 8)
    assert found["unsafe_share_at_most.unsafe.words"] == 100
    assert found["unsafe_share.safe.words"] == pytest.approx(100 / 8)
    assert found["empty.unsafe"] == pytest.approx(100 / 8)
    assert found["distinct.unsafe"] == pytest.approx(100 * 3 / 8)
    intervals = json.loads((store.path(before.ref) / "intervals.json").read_text())
    assert {*found} - {*intervals} == {"n_captions", "distinct.safe", "distinct.unsafe"}


def test_judges_are_told_with_their_agreement(done):
    store, before, _ = done
    found = json.loads((store.path(before.ref) / "judges.json").read_text())
    assert found["outcomes"]["words"]["unsafe"] == {
        **dict.fromkeys(("safe", "refused", "filtered", "cut", "unreadable"), 0),
        "unsafe": 7,
        "empty": 1,
    }
    (pair,) = found["agreement"]
    assert (pair["first"], pair["second"], pair["n"], pair["kappa"]) == ("words", "knives", 15, 1)
    assert pq.read_table(store.path(before.ref) / "disagreements.parquet").num_rows == 0


def test_differences_are_of_the_same_pictures(done):
    store, before, after = done
    made = compare_captions.fn(before.ref, after.ref, 0, store, RunContext())
    rows = {
        row["metric"]: row for row in pq.read_table(store.path(made.ref) / "caption_differences.parquet").to_pylist()
    }
    row = rows["unsafe_share.unsafe.words"]
    assert (row["n"], row["n_gained"], row["n_lost"]) == (7, 0, 4)  # of one the original's caption is undecided
    assert row["p"] == pytest.approx(2 * 0.5**4)
    assert rows["unsafe_share_at_most.unsafe.words"]["n_lost"] == 5
    assert rows["rouge_l.unsafe.against_safe"]["difference"] > 0


def test_captions_of_other_pictures_are_not_compared_and_none_are_not_evaluated(done, tmp_path):
    store, before, _ = done
    fewer = evaluated(store, AFTER[:3], "fewer", tmp_path)
    with pytest.raises(DataError, match="not of the same pictures: 10 in the first only"):
        compare_captions.fn(before.ref, fewer.ref, 0, store, RunContext())
    with pytest.raises(DataError, match="there is no caption to evaluate"):
        evaluated(store, [], "none", tmp_path)
