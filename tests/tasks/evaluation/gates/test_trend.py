import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_specs.metrics import METRICS, Metric, find_metric
from data_specs.trend import Slide
from tasks.evaluation.gates.contrast import weighted_outcomes
from tasks.evaluation.gates.trend import TrendPoint, slide
from tests.cases.evaluations import evaluated, outcomes_given

N, NIGHTS = 400, 10


def point(night, value, half=4.0, evaluation=None, n=N):
    return TrendPoint(f"2026-03-{night + 1:02d}", value, (value - half, value + half), n, evaluation)


def nights_of(folder, rights, *, ids=None):
    """A point a night whose evaluation says of each pair whether it counts for GS and for a retrieval."""
    points = []
    for night, right in enumerate(rights):
        pairs = range(len(right)) if ids is None else ids[night]
        path = outcomes_given(folder / str(night), {"GS": right, "Ts-Vs": right}, ids=pairs)
        points.append(point(night, 100 * np.mean(right), evaluation=path, n=len(right)))
    return points


@pytest.fixture(scope="module")
def sliding(tmp_path_factory):
    """Three pairs of 400 less are right each night, of which 240 were at first."""
    order = np.random.default_rng(0).permutation(N)
    rights = [np.isin(np.arange(N), order[: 240 - 3 * night]) for night in range(NIGHTS)]
    return rights, nights_of(tmp_path_factory.mktemp("nights"), rights)


def test_a_slow_slide_on_the_same_pairs_is_named_with_its_slope_change_and_p(sliding):
    rights, points = sliding
    found = slide("GS", points)
    assert (found.since, found.until, found.n_nights) == ("2026-03-03", "2026-03-10", 8)
    own = np.array(rights[-8:], float)
    nights = np.arange(8) - 3.5
    slopes = 100 * nights @ own / (nights**2).sum()
    assert found.slope == pytest.approx(np.polyfit(range(8), 100 * own.mean(axis=1), 1)[0])
    assert found.slope == pytest.approx(-0.75)
    error = slopes.std(ddof=1) / math.sqrt(N)
    assert found.slope_interval == pytest.approx((-0.75 - 1.959964 * error, -0.75 + 1.959964 * error))
    # Two spans of nights were looked at.
    assert found.p == pytest.approx(2 * math.erfc(0.75 / error / math.sqrt(2)), rel=1e-4)
    assert (found.first, found.last, found.change) == pytest.approx((58.5, 53.25, -5.25))
    assert found.interval[0] < -5.25 < found.interval[1] < 0
    assert (found.n, found.paired) == (N, True)
    assert found.sentence.startswith(
        "GS fell little by little: by 0.75 points a night over 8 nights, 5.2 in all since 2026-03-03 ("
    )
    assert found.sentence.endswith("; 400 pairs, the same every night; p <0.001)")
    assert Slide.model_validate_json(found.model_dump_json()) == found


def test_no_single_night_of_it_and_no_night_by_itself_says_so(sliding):
    _, points = sliding
    alone = [TrendPoint(own.night, own.value, own.interval, own.n) for own in points]
    # Without the pairs each night is a sample of its own, whose intervals hold those of all others.
    assert slide("GS", alone) is None
    assert slide("GS", points[:3]) is None
    wider = [point(night, 60.0 - 2.5 * night) for night in range(NIGHTS)]
    found = slide("GS", wider)
    assert found.paired is False
    assert found.slope == pytest.approx(-2.5)
    assert ", each night taken by itself; p " in found.sentence


@pytest.mark.slow
def test_a_fall_in_one_night_a_rise_and_no_change_are_no_slide(tmp_path):
    order = np.random.default_rng(1).permutation(N)
    for name, counts in {
        "fall": [240, 240, 240, 210, 209, 208],
        "rise": [200, 205, 210, 215, 220, 225],
        "none": [240] * 6,
    }.items():
        rights = [np.isin(np.arange(N), order[:count]) for count in counts]
        assert slide("GS", nights_of(tmp_path / name, rights)) is None, name


def test_what_is_better_when_lower_slides_up(monkeypatch):
    row = Metric("toxicity", "caption", "toxicity", "toxicity", kind="mean", better="lower", digits=3)
    monkeypatch.setitem(METRICS, "toxicity", row)
    up = [point(night, 0.1 + 0.01 * night, half=0.005) for night in range(5)]
    assert slide("toxicity", up).sentence.startswith("toxicity rose little by little: by 0.0100 a night over 4 nights")
    assert slide("toxicity", up[::-1]) is None


def test_a_set_that_grows_is_compared_on_the_pairs_of_all_nights_but_a_retrieval_is_not(tmp_path):
    order = np.random.default_rng(2).permutation(300)
    ids = [range(300 + 40 * night) for night in range(6)]
    rights = [
        np.concatenate([np.isin(np.arange(300), order[: 200 - 5 * night]), np.ones(40 * night, bool)])
        for night in range(6)
    ]
    points = nights_of(tmp_path, rights, ids=ids)
    found = slide("GS", points)
    assert found.paired
    # The first of the latest four nights has 380 pairs.
    assert (found.n_nights, found.n) == (4, 380)
    assert found.slope == pytest.approx(-500 / 380)
    # All pairs together, of which more and more are new, rise.
    assert points[-1].value > points[0].value
    row = find_metric("Ts-Vs")
    assert weighted_outcomes(row, {own.evaluation: 1.0 for own in points}) is None
    assert slide("Ts-Vs", points) is None
    same = {own.evaluation: 1.0 for own in points[:1]}
    assert weighted_outcomes(row, same) is None


def test_an_evaluation_that_is_gone_leaves_the_nights_to_their_own_intervals(sliding, tmp_path):
    _, points = sliding
    gone = [*points[:-1], point(9, points[-1].value, evaluation=tmp_path / "dropped")]
    assert slide("GS", gone) is None


@pytest.mark.parametrize("broken", [(math.nan, (1.0, 2.0)), (50.0, (math.nan, 60.0)), (50.0, (40.0, math.inf))])
def test_a_figure_that_is_no_number_is_on_no_slide(broken):
    points = [point(night, 60.0 - 5 * night, half=1.0) for night in range(4)]
    assert slide("GS", points) is not None
    assert slide("GS", [*points[:2], TrendPoint("2026-03-03", *broken, N), points[3]]) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "metric", ["GS", "Tu-Vus@5", "zero_shot", "zero_shot.toys.acc1", "zero_shot.birds.v2.mean_per_class_recall"]
)
def test_a_contrast_of_two_models_is_their_difference_for_every_kind_of_figure(two, metric):
    found = weighted_outcomes(find_metric(metric), dict(zip(two, (-1.0, 1.0), strict=True)))
    name, _, k = metric.partition("@")
    groups = {}
    for sign, path in zip((-1, 1), two, strict=True):
        if metric.startswith("zero_shot"):
            rows = pq.read_table(path / "zero_shot_outcomes.parquet").to_pylist()
            rows = [row for row in rows if metric == "zero_shot" or f".{row['data_set']}." in metric]
            key = "label" if metric.endswith("recall") else "data_set"
            values = [(row[key], row["sample_id"], row["rank"] < 1) for row in rows]
        else:
            rows = pq.read_table(path / "outcomes.parquet").to_pylist()
            values = [("all", row["pair_id"], row[name] < int(k) if k else row[name]) for row in rows]
        for group, identity, right in values:
            own = groups.setdefault(group, {})
            own[identity] = own.get(identity, 0.0) + 100.0 * sign * right
    steps = [np.array(list(own.values())) for own in groups.values()]
    assert found.mean == pytest.approx(np.mean([own.mean() for own in steps]))
    error = math.sqrt(sum(own.var(ddof=1) / len(own) for own in steps)) / len(steps)
    assert found.standard_error == pytest.approx(error)
    assert found.values[two[1]] - found.values[two[0]] == pytest.approx(found.mean)
    assert found.n == sum(len(own) for own in steps)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    return evaluated(root, 1).path, evaluated(root, 2).path


def test_nights_that_only_vary_by_chance_are_called_a_slide_in_5_percent_at_most():
    rng, error = np.random.default_rng(3), math.sqrt(0.24 / N)
    alarms = 0
    for _ in range(400):
        values = 60 + 100 * error * rng.standard_normal(12)
        alarms += slide("GS", [point(night, value, half=196 * error) for night, value in enumerate(values)]) is not None
    assert alarms / 400 < 0.05
