import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from data_specs.errors import DataError
from data_specs.evaluation_files import read_differences, read_figures
from data_specs.metrics import GROUPS, PREFERENCES, recall_name
from data_specs.schemas import DIFFERENCES
from tasks.evaluation.differences import differences
from tasks.evaluation.intervals import mcnemar_p
from tasks.evaluation.task import compare_evaluations
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tests.cases.evaluations import evaluated


def exact_p(gained, lost):
    """McNemar's definition in rational numbers: twice the smaller tail of a fair binomial, at most 1."""
    changed = gained + lost
    tail = sum(math.comb(changed, i) for i in range(min(gained, lost) + 1))
    return min(Fraction(1), Fraction(2 * tail, 2**changed))


@pytest.mark.parametrize(
    ("gained", "lost"), [(0, 0), (1, 0), (0, 6), (3, 3), (10, 11), (12, 30), (400, 300), (151, 148), (0, 900)]
)
def test_mcnemars_p_equals_its_definition_in_rational_numbers_and_scipy(gained, lost):
    assert mcnemar_p(gained, lost) == pytest.approx(float(exact_p(gained, lost)), rel=1e-9)
    assert mcnemar_p(gained, lost) == mcnemar_p(lost, gained)
    if gained + lost:
        assert mcnemar_p(gained, lost) == binomtest(gained, gained + lost, 0.5).pvalue


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    return Store(root), evaluated(root, 1), evaluated(root, 2)


@pytest.fixture(scope="module")
def found(made):
    store, first, second = made
    return read_differences(compare_evaluations.fn(first.ref, second.ref, 0, store, RunContext()).path)


def outcomes_of(path, metric):
    """Whether each pair or image counts, by identity."""
    if metric.startswith("zero_shot."):
        data_set, _, accuracy = metric.removeprefix("zero_shot.").rpartition(".")
        k = 5 if accuracy == "acc5" else 1
        images = pq.read_table(path / "zero_shot_outcomes.parquet").to_pylist()
        return {row["sample_id"]: row["rank"] < k for row in images if row["data_set"] == data_set}
    name, _, k = metric.partition("@")
    pairs = pq.read_table(path / "outcomes.parquet").to_pylist()
    is_rank = name not in (*PREFERENCES, *GROUPS)
    return {row["pair_id"]: row[name] < int(k or 1) if is_rank else row[name] for row in pairs}


@pytest.mark.slow
def test_every_figure_is_compared_and_follows_from_the_outcomes(made, found):
    _, first, second = made
    before, after = read_figures(first.path), read_figures(second.path)
    assert found.keys() == before.keys()
    for metric, row in found.items():
        assert (row.first, row.second) == (before[metric], after[metric])
        assert row.difference == pytest.approx(after[metric] - before[metric], abs=1e-10)
        assert row.low <= row.difference <= row.high
        assert row.low < row.high
        if metric == "zero_shot" or metric.endswith("recall"):
            assert row.p is None
            continue
        one, two = outcomes_of(first.path, metric), outcomes_of(second.path, metric)
        gained, lost = sum(two[i] > one[i] for i in one), sum(one[i] > two[i] for i in one)
        assert (row.n, row.n_gained, row.n_lost) == (len(one), gained, lost), metric
        assert row.p == pytest.approx(float(exact_p(gained, lost)), rel=1e-9)
    assert found["zero_shot"].n == 70
    assert found["zero_shot"].n_gained == sum(found[f"zero_shot.{name}.acc1"].n_gained for name in ("toys", "birds.v2"))
    assert found["PS"].n_gained > 5
    assert found["PS"].n_lost > 5


@pytest.mark.slow
def test_intervals_equal_a_bootstrap_of_pairs_by_position(made, found):
    _, first, second = made
    rng = np.random.default_rng(0)
    for metric in ("P_t_s", "GS", recall_name("Tu-Vus", 10), "zero_shot.toys.acc1"):
        one, two = outcomes_of(first.path, metric), outcomes_of(second.path, metric)
        steps = np.array([float(two[i]) - float(one[i]) for i in one])
        draws = steps[rng.integers(0, len(steps), (20_000, len(steps)))].mean(axis=1)
        expected = 100 * np.quantile(draws, (0.025, 0.975))
        # A step of one pair may be on either side of a bound.
        assert (found[metric].low, found[metric].high) == pytest.approx(expected, abs=100.1 / len(steps)), metric


def test_exchanging_the_models_negates_every_difference(made, found):
    _, first, second = made
    mirrored = {row["metric"]: row for row in differences(second.path, first.path, 0).to_pylist()}
    assert mirrored.keys() == found.keys()
    for metric, row in mirrored.items():
        assert row["difference"] == -found[metric].difference
        assert (row["n_gained"], row["n_lost"]) == (found[metric].n_lost, found[metric].n_gained)
        assert row["p"] == found[metric].p
        width = found[metric].high - found[metric].low
        assert (row["low"], row["high"]) == pytest.approx((-found[metric].high, -found[metric].low), abs=0.15 * width)


def test_a_model_compared_with_itself_differs_in_nothing(made):
    _, first, _ = made
    for row in differences(first.path, first.path, 0).to_pylist():
        assert (row["difference"], row["n_gained"], row["n_lost"]) == (0, 0, 0)
        assert row["p"] in (1.0, None)
        assert row["low"] == pytest.approx(-row["high"])
        assert row["high"] > 0


def test_the_artifact_is_in_the_published_schema_and_leads_back_to_both_evaluations(made):
    store, first, second = made
    artifact = compare_evaluations.fn(first.ref, second.ref, 0, store, RunContext())
    assert artifact.reused
    assert pq.read_schema(artifact.path / "differences.parquet").equals(DIFFERENCES, check_metadata=True)
    recipe = store.manifest(artifact.ref).recipe
    assert (artifact.ref.kind, recipe.settings["seed"]) == ("differences", 0)
    assert recipe.inputs == {"first": first.ref, "second": second.ref}


def test_evaluations_of_other_pairs_are_refused_with_how_many(made, tmp_path):
    _, first, _ = made
    other = evaluated(tmp_path, 2, ids=range(50, 65))
    with pytest.raises(
        DataError, match="not on the same pairs: 50 in the first only, 5 in the second only, 10 in both"
    ):
        differences(first.path, other.path, 0)


@pytest.mark.slow
def test_evaluations_of_other_data_sets_or_images_are_refused(made, tmp_path):
    _, first, _ = made
    fewer = evaluated(tmp_path, 2, data_sets={"toys": (40, 3)})
    with pytest.raises(DataError, match=r"not on the same zero-shot data sets: \['birds.v2', 'toys'\] and \['toys'\]"):
        differences(first.path, fewer.path, 0)
    shorter = evaluated(tmp_path, 2, data_sets={"toys": (33, 3), "birds.v2": (30, 7)})
    with pytest.raises(DataError, match="images of zero-shot data sets: 7 in the first only, 0 in the second only"):
        differences(first.path, shorter.path, 0)


def test_a_pair_that_occurs_twice_is_refused(made, tmp_path):
    _, first, _ = made
    twice = evaluated(tmp_path, 1)
    table = pq.read_table(twice.path / "outcomes.parquet")
    pq.write_table(pa.concat_tables([table, table.slice(0, 2)]), twice.path / "outcomes.parquet")
    with pytest.raises(DataError, match="2 pairs occur more than once"):
        differences(first.path, twice.path, 0)
