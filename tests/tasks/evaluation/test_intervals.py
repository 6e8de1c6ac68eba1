from functools import cache

import numpy as np
import pytest
from scipy.stats import binom, binomtest, bootstrap, norm

from tasks.evaluation.intervals import Groups, difference_interval, generator, share_interval


def interval(right, sizes, *, one_sample=False, seed=0):
    groups = Groups(np.atleast_1d(sizes), one_sample)
    return share_interval(groups, np.atleast_1d(right), generator(seed))


def coverage_in_simulation(draw_interval, truth, *, n_samples=500):
    held = [low <= truth <= high for low, high in (draw_interval(sample) for sample in range(n_samples))]
    return 100 * sum(held) / n_samples


@pytest.mark.slow
@pytest.mark.parametrize(("p", "n"), [(0.3, 600), (0.5, 400), (0.9, 500)])
def test_a_known_proportion_lies_in_95_percent_of_intervals(p, n):
    rng = np.random.default_rng(7)
    assert 93 <= coverage_in_simulation(lambda _: interval(rng.binomial(n, p), n), 100 * p) <= 97


@cache
def cached_interval(right, n):
    return interval(right, n)


def exact_coverage(p, n, limits=cached_interval):
    """The chance that the interval holds p: every count that may come up, with its probability."""
    likely = range(int(binom.ppf(1e-6, n, p)), int(binom.ppf(1 - 1e-6, n, p)) + 1)
    low, high = np.array([limits(right, n) for right in likely]).T
    return 100 * binom.pmf(likely, n, p)[(low <= 100 * p) & (100 * p <= high)].sum()


@pytest.mark.parametrize(("p", "n"), [(0.01, 500), (0.02, 500), (0.05, 500), (0.01, 2000), (0.01, 5000), (0.03, 5000)])
def test_rare_outcomes_are_covered_as_promised(p, n):
    assert 94 <= exact_coverage(p, n) <= 98.5


def percentile_limits(right, n):
    return (100 * binom.ppf((0.025, 0.975), n, right / n) / n).tolist() if right else cached_interval(right, n)


def test_from_3_expected_outcomes_on_coverage_is_near_95_where_the_percentile_interval_falls_to_86():
    rates = np.linspace(3, 15, 49) / 500
    found = [exact_coverage(p, 500) for p in rates]
    percentile = [exact_coverage(p, 500, percentile_limits) for p in rates]
    assert min(found) > 93
    assert 95 < np.mean(found) < 97
    assert min(percentile) < 88
    assert np.mean(percentile) < 94


@pytest.mark.parametrize(("right", "n"), [(9, 80), (40, 80), (77, 80), (30, 400)])
def test_the_interval_is_scipys_bias_corrected_and_accelerated_bootstrap(right, n):
    outcomes = np.repeat([1.0, 0.0], [right, n - right])
    expected = bootstrap((outcomes,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(1))
    # The bounds are steps of one outcome; simulation may move them by one.
    assert interval(right, n) == pytest.approx([100 * bound for bound in expected.confidence_interval], abs=101 / n)


@pytest.mark.parametrize("n", [1, 7, 300])
def test_where_all_outcomes_are_equal_the_bounds_are_clopper_and_pearsons(n):
    for right in (0, n):
        exact = binomtest(right, n).proportion_ci(method="exact")
        assert interval(right, n) == pytest.approx((100 * exact.low, 100 * exact.high), abs=1e-9)
    assert interval(n, n)[0] == pytest.approx(100 * 0.025 ** (1 / n))


def naive_bca(statistic, samples, rng, n_resamples=3000):
    """Resample every sample's rows by position; Efron's formulas with the jackknife."""
    draws = []
    for _ in range(n_resamples):
        draws.append(statistic([rows[rng.integers(0, len(rows), len(rows))] for rows in samples]))
    draws, found = np.array(draws), statistic(samples)
    bias = norm.ppf((draws < found - 1e-12).mean() + (abs(draws - found) <= 1e-12).mean() / 2)
    influences = []
    for position, rows in enumerate(samples):
        for i in range(len(rows)):
            without = [*samples[:position], np.delete(rows, i, axis=0), *samples[position + 1 :]]
            influences.append((found - statistic(without)) * (len(rows) - 1) / len(rows))
    influences = np.array(influences)
    acceleration = (influences**3).sum() / (6 * (influences**2).sum() ** 1.5)
    shifted = bias + norm.ppf([0.025, 0.975])
    return np.quantile(draws, norm.cdf(bias + shifted / (1 - acceleration * shifted))), draws.std()


def test_the_mean_over_data_sets_equals_a_bootstrap_of_each_sets_images():
    rights, sizes = np.array([9, 55, 3]), np.array([60, 80, 40])
    samples = [np.repeat([1.0, 0.0], [right, n - right]) for right, n in zip(rights, sizes, strict=True)]
    expected, deviation = naive_bca(lambda rows: np.mean([each.mean() for each in rows]), samples, generator(3))
    assert interval(rights, sizes) == pytest.approx(100 * expected, abs=25 * deviation)


def test_the_mean_over_classes_equals_a_bootstrap_of_images_where_classes_may_vanish():
    rights, sizes = np.array([12, 30, 1, 2]), np.array([40, 35, 2, 6])
    labels = np.repeat(np.arange(4), sizes)
    outcomes = np.concatenate([np.repeat([1.0, 0.0], pair) for pair in zip(rights, sizes - rights, strict=True)])

    def recall(samples):
        ((label, outcome),) = (rows.T for rows in samples)
        return np.mean([outcome[label == each].mean() for each in np.unique(label)])

    expected, deviation = naive_bca(recall, [np.stack([labels, outcomes], axis=1)], generator(4))
    found = interval(rights, sizes, one_sample=True)
    assert found == pytest.approx(100 * expected, abs=25 * deviation)
    # A class of one image is missing from a third of all resamples.
    assert interval([25, 1], [50, 1], one_sample=True)[0] < 60 < interval([25, 1], [50, 1])[0]


def test_several_groups_without_variation_count_as_if_all_were_as_small_as_the_smallest():
    low = 100 * 0.025 ** (1 / 40)
    assert interval([50, 20], [50, 20]) == pytest.approx((low, 100))
    assert interval([0, 0], [50, 20]) == pytest.approx((0, 100 - low))
    # A model that always answers the first class.
    low_of_first, high_of_others = 0.025 ** (1 / 50), 1 - 0.025 ** (1 / 60)
    expected = 100 * low_of_first / 3, 100 * (1 + 2 * high_of_others) / 3
    assert interval([50, 0, 0], [50, 30, 40], one_sample=True) == pytest.approx(expected)


def test_the_same_seed_gives_the_same_interval_and_another_one_others():
    assert interval(37, 100) == interval(37, 100)
    assert generator(0).random() != generator(1).random()
    assert generator(2**63 - 1).random() == generator(2**63 - 1).random()


def change(gained, lost, sizes, *, one_sample=False, seed=0):
    groups = Groups(np.atleast_1d(sizes), one_sample)
    return difference_interval(groups, np.atleast_1d(gained), np.atleast_1d(lost), generator(seed))


@pytest.mark.parametrize(("gained", "lost", "n"), [(40, 15, 300), (7, 2, 200), (90, 110, 250)])
def test_a_differences_interval_equals_a_bootstrap_of_pairs_by_position(gained, lost, n):
    rng = np.random.default_rng(5)
    steps = np.repeat([1.0, -1.0, 0.0], [gained, lost, n - gained - lost])
    draws = steps[rng.integers(0, n, (20_000, n))].mean(axis=1)
    tolerance = max(1 / n, 0.15 * draws.std())
    assert change(gained, lost, n) == pytest.approx(100 * np.quantile(draws, (0.025, 0.975)), abs=100.1 * tolerance)


def test_a_difference_of_class_means_equals_a_bootstrap_of_images_by_position():
    rng = np.random.default_rng(6)
    sizes, gained, lost = np.array([50, 20, 30]), np.array([10, 1, 0]), np.array([3, 6, 9])
    labels = np.repeat(np.arange(3), sizes)
    steps = np.concatenate(
        [np.repeat([1, -1, 0], [g, k, n - g - k]) for g, k, n in zip(gained, lost, sizes, strict=True)]
    )
    draws = []
    for _ in range(4000):
        drawn = rng.integers(0, 100, 100)
        draws.append(np.mean([steps[drawn][labels[drawn] == label].mean() for label in range(3)]))
    expected = 100 * np.quantile(draws, (0.025, 0.975))
    assert change(gained, lost, sizes, one_sample=True) == pytest.approx(expected, abs=20 * np.std(draws))


@pytest.mark.slow
@pytest.mark.parametrize(("up", "down"), [(0.06, 0.03), (0.2, 0.2), (0.01, 0.004)])
def test_a_known_difference_lies_in_95_percent_of_intervals(up, down):
    rng = np.random.default_rng(8)

    def draw(_):
        gained, lost, _ = rng.multinomial(500, [up, down, 1 - up - down])
        return change(gained, lost, 500)

    assert 93 <= coverage_in_simulation(draw, 100 * (up - down)) <= 97.5


def test_exchanging_the_models_mirrors_the_interval():
    low, high = change([30, 4], [11, 9], [200, 100])
    assert change([11, 9], [30, 4], [200, 100]) == pytest.approx((-high, -low), abs=0.3)


def test_where_no_pair_changes_the_bounds_say_how_many_might():
    unseen = 100 * (1 - 0.025 ** (1 / 80))
    assert change(0, 0, 80) == pytest.approx((-unseen, unseen))
    assert change(80, 0, 80) == pytest.approx((100 - 2 * unseen, 100))
    assert change(0, 80, 80) == pytest.approx((-100, -100 + 2 * unseen))
