import math
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from data_specs.errors import DataError
from data_specs.evaluation_files import read_differences, read_figures, read_intervals, write_json
from data_specs.gate import Gate
from data_specs.metrics import METRICS, Metric
from data_specs.schemas import outcomes_schema
from tasks.evaluation.gates.certainty import few_changed_p
from tasks.evaluation.gates.examination import examine
from tasks.evaluation.intervals import mcnemar_p
from tasks.evaluation.measures import write_measures
from tasks.evaluation.task import compare_evaluations
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tests.cases.evaluations import TAGS, evaluated, outcomes_given

TOXICITY = Metric(
    "toxicity", "caption", "toxicity", "mean toxicity of captions", kind="mean", better="lower", unit="score", digits=3
)


def gate(metric, rule="min_change", limit=-1.0, tag=None):
    return Gate(metric=metric, tag=tag, rule=rule, limit=limit)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The baseline's evaluation and the model's, of random embeddings of the same pairs and images."""
    root = tmp_path_factory.mktemp("store")
    return Store(root), evaluated(root, 1), evaluated(root, 2)


@pytest.fixture(scope="module")
def places(made):
    return made[1].path, made[2].path


def rows_of(path, file="outcomes.parquet"):
    return pq.read_table(path / file).to_pylist()


def naive_changes(baseline, current, metric, below=None, tag=None):
    """Of each pair of both whether it counts, in the baseline and in the model."""
    sides = []
    for path in (baseline, current):
        rows = [row for row in rows_of(path) if tag is None or row["tag"] == tag]
        sides.append({row["pair_id"]: row[metric] if below is None else row[metric] < below for row in rows})
    shared = [pair for pair in sides[0] if pair in sides[1]]
    return np.array([[side[pair] for side in sides] for pair in shared], float)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "below", "tag"), [("GS", None, None), ("Txt_s", None, "hate"), ("Ts-Vs", 1, None), ("Vu-Tus", 1, "war")]
)
def test_a_change_is_that_of_the_pairs_one_by_one_and_its_interval_that_of_their_resamples(places, metric, below, tag):
    (found,) = examine([gate(metric, tag=tag)], places[1], places[0], 0)
    pairs = naive_changes(*places, metric, below, tag)
    steps = pairs[:, 1] - pairs[:, 0]
    assert found.n == len(pairs) == (60 if tag is None else 15)
    assert (found.baseline, found.value) == pytest.approx(tuple(100 * pairs.mean(axis=0)))
    assert found.change == pytest.approx(100 * steps.mean())
    assert (found.n_gained, found.n_lost) == ((steps > 0).sum(), (steps < 0).sum())
    draws = 100 * steps[np.random.default_rng(1).integers(0, len(steps), (20_000, len(steps)))].mean(axis=1)
    # Resamples move by whole pairs.
    step = 100 / len(steps)
    assert found.interval == pytest.approx(np.quantile(draws, (0.025, 0.975)), abs=2 * step)
    assert found.p == few_changed_p(found.n, found.n_gained, found.n_lost, -1.0)
    assert found.p_from == "trinomial"
    assert not found.reasons


@pytest.mark.slow
def test_every_figure_of_two_evaluations_is_compared_as_their_differences_are(made):
    store, first, second = made
    differences = read_differences(compare_evaluations.fn(first.ref, second.ref, 0, store, RunContext()).path)
    found = examine([gate(metric, limit=0) for metric in differences], second.path, first.path, 0)
    for row, finding in zip(differences.values(), found, strict=True):
        told = (finding.n, finding.n_gained, finding.n_lost)
        assert told == (row.n, row.n_gained, row.n_lost), row.metric
        assert (finding.baseline, finding.value, finding.change) == pytest.approx(
            (row.first, row.second, row.difference)
        )
        if row.metric.endswith("recall"):
            assert finding.interval == (row.low, row.high)
        else:
            assert finding.interval == pytest.approx((row.low, row.high), abs=6), row.metric
        if row.p is not None:
            assert (finding.p, finding.p_from) == (row.p, "mcnemar")
            assert finding.p == mcnemar_p(finding.n_gained, finding.n_lost)
        else:
            assert finding.p_from == "interval"


@pytest.mark.slow
def test_a_limit_of_the_figure_itself_has_the_evaluations_own_interval_and_an_exact_p(places):
    names = ["PS", "zero_shot", "zero_shot.toys.acc1"]
    found = examine([gate(name, "min", 30) for name in names], places[1], None, 0)
    values, intervals = read_figures(places[1]), read_intervals(places[1])
    for name, finding in zip(names, found, strict=True):
        assert (finding.value, finding.interval) == (pytest.approx(values[name]), intervals[name])
        assert (finding.baseline, finding.change, finding.reasons) == (None, None, ())
    right = sum(row["PS"] for row in rows_of(places[1]))
    assert (found[0].p, found[0].p_from) == (binomtest(right, 60, 0.3).pvalue, "binomial")
    assert found[1].p_from == "interval"
    beside = examine([gate("PS", "min", 30)], places[1], places[0], 0)[0]
    assert (beside.interval, beside.p) == (found[0].interval, found[0].p)
    assert beside.change == pytest.approx(values["PS"] - read_figures(places[0])["PS"])
    assert examine([gate("PS", "max", 250)], places[1], None, 0)[0].p == 0


@pytest.mark.slow
def test_the_worst_tags_are_those_that_moved_furthest_to_the_bad_side(places):
    for rule, sign in (("min_change", -1), ("max_change", 1)):
        (found,) = examine([gate("PS", rule, 50 * -sign)], places[1], places[0], 0)
        expected = {}
        for tag in TAGS:
            rows = {path: [row["PS"] for row in rows_of(path) if row["tag"] == tag] for path in places}
            change = 100 * (np.mean(rows[places[1]]) - np.mean(rows[places[0]]))
            if sign * change > 0:
                expected[tag] = pytest.approx(change)
        told = [row.change for row in found.tags]
        assert {row.tag: row.change for row in found.tags} == expected
        assert told == sorted(told, key=abs, reverse=True)
        assert all(row.n == 15 and row.low < row.change < row.high for row in found.tags)
    assert examine([gate("PS", limit=-99)], places[1], places[0], 0)[0].tags == ()


def test_one_evaluation_is_no_two_and_its_change_is_0_without_any_doubt(made, tmp_path):
    _, first, _ = made
    copy = shutil.copytree(first.path, tmp_path / "elsewhere" / first.path.name)
    for baseline in (first.path, copy):
        found = examine([gate("GS"), gate("zero_shot"), gate("GS", tag="war")], first.path, baseline, 0)
        for finding in found:
            assert finding.certain
            assert (finding.change, finding.interval, finding.p) == (0, (0, 0), None)
            assert finding.value == finding.baseline
    unlike = shutil.copytree(first.path, tmp_path / "evaluation")
    assert not examine([gate("GS")], first.path, unlike, 0)[0].certain


def test_other_pairs_are_told_apart_and_compared_on_those_that_both_have(places, tmp_path):
    longer = evaluated(tmp_path, 2, ids=range(20, 75), data_sets={}).path
    whole, tagged, itself, ranked = examine(
        [gate("GS"), gate("GS", tag="hate"), gate("GS", "min", 1), gate("Ts-Vs")], longer, places[0], 0
    )
    assert whole.reasons == ["15 pairs are in the model's evaluation only, 20 in the baseline's only, and 40 in both"]
    pairs = naive_changes(places[0], longer, "GS")
    assert (whole.n, whole.baseline, whole.value) == pytest.approx((40, *(100 * pairs.mean(axis=0))))
    assert whole.interval[0] < whole.change < whole.interval[1]
    assert tagged.reasons[0].startswith("4 pairs with the tag hate are in the model's evaluation only, 5 in")
    assert (itself.reasons, itself.n, itself.baseline) == ((), 55, None)
    assert (ranked.n, ranked.change, ranked.interval) == (0, None, None)
    assert ranked.reasons[1] == "a retrieval ranks among all pairs of its set, so that none of it is comparable"


def test_a_tag_whose_pairs_are_the_same_stays_comparable_when_others_come(tmp_path):
    rng = np.random.default_rng(1)
    before = outcomes_given(tmp_path / "a", {"GS": rng.random(20) < 0.5}, ids=range(20), tags=["war"] * 20)
    more = outcomes_given(
        tmp_path / "b", {"GS": rng.random(30) < 0.5}, ids=range(30), tags=["war"] * 20 + ["hate"] * 10
    )
    of_war, of_hate, ranked, every = examine(
        [gate("GS", tag="war"), gate("GS", tag="hate"), gate("Ts-Vs", tag="war"), gate("GS")], more, before, 0
    )
    assert (of_war.reasons, of_war.n) == ([], 20)
    assert of_hate.reasons[0].endswith(
        "10 pairs with the tag hate are in the model's evaluation only, 0 in the baseline's only, and 0 in both"
    )
    assert (of_hate.n, of_hate.interval) == (0, None)
    assert "none of it is comparable" in ranked.reasons[1]
    assert every.n == 20
    assert "10 pairs are" in every.reasons[0]


@pytest.mark.slow
def test_other_data_sets_or_classes_are_named_and_the_mean_is_of_those_that_are_alike(places, tmp_path):
    fewer = evaluated(tmp_path, 2, data_sets={"toys": (40, 3)}).path
    mean, single, gone = examine(
        [gate("zero_shot"), gate("zero_shot.toys.acc1"), gate("zero_shot.birds.v2.acc1")], fewer, places[0], 0
    )
    assert mean.reasons == ["the zero-shot data sets differ: birds.v2 of the baseline only"]
    assert (mean.n, mean.change) == (40, single.change)
    assert (single.reasons, single.n) == ([], 40)
    assert gone.reasons == ["it was not measured; did you mean zero_shot.toys.acc1"]
    other = shutil.copytree(places[1], tmp_path / "other classes")
    write_measures(other, {"toys": 9, "birds.v2": 7}, 0)
    mean, single = examine([gate("zero_shot"), gate("zero_shot.toys.acc1")], other, places[0], 0)
    assert mean.reasons == single.reasons == ["the classes of toys are not as many as the baseline's"]
    assert (mean.n, single.n) == (30, 0)


@pytest.mark.slow
def test_what_was_not_measured_is_told_and_never_compared(places, tmp_path):
    without = evaluated(tmp_path, 2, data_sets={}).path
    found = examine([gate("zero_shot"), gate("zero_shot", "min", 60), gate("GS", tag="wra")], without, places[0], 0)
    absent = "it was not measured, as the set has no zero-shot data sets"
    assert [row.reasons for row in found] == [[absent], [absent], ["no pair has the tag wra; did you mean war"]]
    assert all(row.n == 0 and row.interval is None for row in found)
    (found,) = examine([gate("zero_shot")], places[1], without, 0)
    assert found.reasons == [f"of the baseline {absent}"]
    (alone, itself) = examine([gate("GS"), gate("GS", "min", 1)], places[1], None, 0)
    assert alone.reasons == ["the baseline was not measured on this set"]
    assert itself.reasons == ()


def test_reasons_from_outside_hold_for_changes_alone_and_figures_are_told_all_the_same(places):
    why = ["torch is 2.7, the baseline's was made with 2.6"]
    change, itself = examine([gate("GS"), gate("GS", "min", 1)], places[1], places[0], 0, why)
    assert change.reasons == why
    assert change.interval == examine([gate("GS")], places[1], places[0], 0)[0].interval
    assert (itself.reasons, itself.baseline) == ((), None)


def test_a_pair_that_occurs_twice_is_a_reason_and_not_counted_twice(places, tmp_path):
    twice = shutil.copytree(places[1], tmp_path / "twice")
    table = pq.read_table(twice / "outcomes.parquet")
    pq.write_table(pa.concat_tables([table, table.slice(0, 3)]), twice / "outcomes.parquet")
    (found,) = examine([gate("GS")], twice, places[0], 0)
    assert found.reasons == ["3 pairs occur more than once in an evaluation; name each shard once"]
    assert found.interval is None


def test_nothing_changed_on_few_pairs_is_far_from_certain(tmp_path):
    right = np.arange(12) % 2 == 0
    one, two = (outcomes_given(tmp_path / name, {"GS": right}, ids=range(12)) for name in ("one", "two"))
    (found,) = examine([gate("GS")], two, one, 0)
    assert found.change == 0
    assert found.interval == pytest.approx((-24.25, 24.25), abs=0.1)
    better = outcomes_given(tmp_path / "three", {"GS": right | (np.arange(12) == 1)}, ids=range(12))
    (found,) = examine([gate("GS")], better, one, 0)
    # Resamples alone would say that it surely did not fall.
    assert found.interval[0] < -10


@pytest.fixture
def captions(tmp_path, monkeypatch):
    """Makes evaluations of captions with given scores."""
    monkeypatch.setitem(METRICS, TOXICITY.name, TOXICITY)

    def make(name, scores):
        folder = outcomes_given(tmp_path / name, {}, ids=range(4))
        tags = pa.array(["loud" if i % 3 else None for i in range(len(scores))], pa.string())
        rows = pa.table({"caption_id": [f"c{i:03d}" for i in range(len(scores))], "tag": tags, "toxicity": scores})
        pq.write_table(rows.cast(outcomes_schema("caption")), folder / "caption_outcomes.parquet")
        mean = float(np.mean(scores))
        write_json(folder / "metrics.json", {"GS": 0.0, "toxicity": mean if math.isfinite(mean) else 0.0})
        return folder

    return make


def test_scores_are_paired_by_caption_in_their_own_unit_and_a_rise_is_bad_where_lower_is_better(captions):
    rng = np.random.default_rng(2)
    scores = rng.beta(1, 8, 90)
    worse = scores + rng.normal(0.02, 0.02, 90)
    found, itself = examine(
        [gate("toxicity", "max_change", 0.01), gate("toxicity", "max", 0.3)],
        captions("worse", worse),
        captions("before", scores),
        0,
    )
    steps = worse - scores
    draws = steps[rng.integers(0, 90, (20_000, 90))].mean(axis=1)
    assert (found.n, found.change) == (90, pytest.approx(steps.mean()))
    assert found.interval == pytest.approx(np.quantile(draws, (0.025, 0.975)), abs=0.15 * draws.std())
    beyond = math.erfc((steps.mean() - 0.01) / draws.std() / math.sqrt(2))
    assert found.p == pytest.approx(beyond, rel=0.5)
    assert (found.n_gained, found.n_lost) == ((steps > 0).sum(), (steps < 0).sum())
    assert itself.p_from == "interval"
    assert itself.value == pytest.approx(worse.mean())


def test_few_scores_that_are_all_alike_have_no_interval_and_many_have_one_of_no_width(captions):
    for n, expected in ((12, None), (40, (0.0, 0.0))):
        one, two = (captions(f"{name}{n}", [0.25] * n) for name in ("one", "two"))
        change, itself = examine([gate("toxicity", "max_change", 0.01), gate("toxicity", "max", 0.3)], two, one, 0)
        assert change.interval == expected
        assert itself.interval == (None if expected is None else (0.25, 0.25))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_an_error_whichever_evaluation_has_it(captions, broken):
    fine, bad = captions("fine", [0.1, 0.2, 0.3]), captions("bad", [0.1, broken, 0.3])
    for current, baseline in ((fine, bad), (bad, fine)):
        with pytest.raises(DataError, match="a score of toxicity is NaN or infinite"):
            examine([gate("toxicity", "max_change", 0.5)], current, baseline, 0)
    with pytest.raises(DataError, match="a score of toxicity is NaN or infinite"):
        examine([gate("toxicity", "max", 0.5)], bad, None, 0)
