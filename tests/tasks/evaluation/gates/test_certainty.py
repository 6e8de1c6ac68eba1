import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.special import xlogy
from scipy.stats import multinomial, norm

from tasks.evaluation.gates.certainty import (
    detectable_change,
    few_changed_p,
    p_from_interval,
    paired_score_interval,
    pairs_to_settle,
    score_bounds,
)
from tasks.evaluation.intervals import Groups, difference_interval, generator


def interval(gained, lost, sizes):
    return paired_score_interval(Groups(np.atleast_1d(sizes)), np.atleast_1d(gained), np.atleast_1d(lost))


def naive_score(gained, lost, n, difference):
    """The measured difference less this one over its standard error, at the likeliest shares that differ by this one."""

    def unlikelihood(share):
        up = share + difference
        return -(xlogy(gained, up) + xlogy(lost, share) + xlogy(n - gained - lost, 1 - share - up))

    least, most = max(0.0, -difference), (1 - difference) / 2
    share = minimize_scalar(unlikelihood, bounds=(least, most), method="bounded", options={"xatol": 1e-13}).x
    return ((gained - lost) / n - difference) / math.sqrt((2 * share + difference - difference**2) / n)


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(12, 30, 200), (1, 7, 21), (0, 4, 60), (3, 0, 40), (5, 5, 50), (0, 0, 30)]
)
def test_the_bounds_are_where_the_score_written_out_is_as_far_as_a_normal_one_in_2_of_40_cases(gained, lost, n):
    low, high = interval(gained, lost, n)
    for bound, target in ((low, norm.ppf(0.975)), (high, norm.ppf(0.025))):
        expected = brentq(lambda at, target=target: naive_score(gained, lost, n, at) - target, -0.99999, 0.99999)
        assert bound == pytest.approx(100 * expected, abs=0.01)


def test_the_bounds_are_those_that_were_published_for_an_example():
    # Fagerland, Lydersen and Laake 2014, Recommended tests and confidence intervals for paired binomial proportions.
    assert interval(1, 7, 21) == pytest.approx((-51.7, -2.6), abs=0.05)


def test_exchanging_the_models_mirrors_the_interval_and_a_sure_one_is_within_all_that_can_be():
    assert interval(7, 30, 200) == pytest.approx([-bound for bound in interval(30, 7, 200)[::-1]], abs=1e-9)
    for gained, lost in ((5, 0), (0, 5)):
        low, high = interval(gained, lost, 5)
        assert -100 <= low <= 20 * (gained - lost) <= high <= 100


def test_on_hundreds_of_pairs_the_interval_is_the_bootstraps():
    for gained, lost, n in ((90, 110, 1200), (40, 15, 400)):
        drawn = difference_interval(Groups(np.array([n])), np.array([gained]), np.array([lost]), generator(0))
        assert interval(gained, lost, n) == pytest.approx(drawn, abs=0.3)


def missed(bounds, truth, draws):
    """In how many percent of samples the lows are above the truth, and the highs below it."""
    lows, highs = bounds
    return 100 * np.mean(lows[draws] > truth + 1e-12), 100 * np.mean(highs[draws] < truth - 1e-12)


def test_where_few_pairs_changed_each_bound_is_wrong_in_4_percent_at_most_and_the_bootstraps_in_15():
    rng, worst = np.random.default_rng(0), {"score": 0.0, "bootstrap": 0.0}
    for n, up, down in ((20, 0.01, 0.02), (40, 0.01, 0.02), (40, 0.02, 0.1), (100, 0.01, 0.02), (100, 0.03, 0.03)):
        sample = rng.multinomial(n, [up, down, 1 - up - down], size=3000)[:, :2]
        found, draws = np.unique(sample, axis=0, return_inverse=True)
        sizes = np.full(len(found), n)
        scores = score_bounds(sizes, *found.T)
        drawn = [difference_interval(Groups(np.array([n])), *(row[:, None]), generator(0)) for row in found]
        both = {"score": scores, "bootstrap": np.array(drawn).T / 100}
        for name, bounds in both.items():
            worst[name] = max(worst[name], *missed(bounds, up - down, draws.ravel()))
    assert worst["score"] < 4
    assert worst["bootstrap"] > 10


def test_the_mean_over_data_sets_is_held_as_a_bootstrap_of_each_sets_images_holds_it():
    sizes, gained, lost = np.array([400, 150, 900]), np.array([40, 9, 30]), np.array([25, 20, 61])
    rng = np.random.default_rng(3)
    steps = [np.repeat([1.0, -1.0, 0.0], [g, k, n - g - k]) for g, k, n in zip(gained, lost, sizes, strict=True)]
    draws = np.mean([rows[rng.integers(0, len(rows), (4000, len(rows)))].mean(axis=1) for rows in steps], axis=0)
    expected = 100 * np.quantile(draws, (0.025, 0.975))
    assert interval(gained, lost, sizes) == pytest.approx(expected, abs=20 * draws.std())


@pytest.mark.slow
def test_a_known_mean_over_data_sets_lies_in_95_percent_of_intervals():
    rng, held = np.random.default_rng(4), 0
    sizes, up, down = np.array([60, 200, 40]), np.array([0.05, 0.02, 0.1]), np.array([0.08, 0.02, 0.01])
    for _ in range(300):
        counts = np.array([rng.multinomial(n, [u, d, 1 - u - d]) for n, u, d in zip(sizes, up, down, strict=True)])
        low, high = interval(counts[:, 0], counts[:, 1], sizes)
        held += low <= 100 * np.mean(up - down) <= high
    assert 93 <= held / 3 <= 98.5


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.data())
def test_p_is_below_5_percent_exactly_where_the_interval_does_not_hold_the_limit(n, data):
    gained = data.draw(st.integers(0, n))
    lost = data.draw(st.integers(0, n - gained))
    limit = data.draw(st.floats(-100, 100))
    low, high = interval(gained, lost, n)
    p = p_from_interval(100 * (gained - lost) / n, (low, high), limit)
    assert 0 <= p <= 1
    if min(abs(limit - low), abs(limit - high)) > 1e-9:
        assert (p < 0.05) == (not low <= limit <= high)


@pytest.mark.slow
def test_p_is_what_the_share_of_resamples_beyond_the_limit_says():
    rng = np.random.default_rng(5)
    steps = np.repeat([1.0, -1.0, 0.0], [30, 55, 715])
    draws = 100 * steps[rng.integers(0, 800, (20_000, 800))].mean(axis=1)
    for limit in (-1.0, -5.0, 0.0):
        beyond = 2 * min(np.mean(draws <= limit), np.mean(draws >= limit))
        assert p_from_interval(draws.mean(), interval(30, 55, 800), limit) == pytest.approx(beyond, abs=0.02)


@pytest.mark.parametrize(
    ("gained", "lost", "n", "limit"), [(1, 7, 60, -2), (0, 3, 40, -1), (4, 0, 30, 2), (2, 2, 25, -5)]
)
def test_p_of_few_that_changed_adds_up_every_outcome_that_is_as_far_on_its_side(gained, lost, n, limit):
    share = minimize_scalar(
        lambda at: (
            -(xlogy(gained, at + limit / 100) + xlogy(lost, at) + xlogy(n - gained - lost, 1 - 2 * at - limit / 100))
        ),
        bounds=(max(0.0, -limit / 100), (1 - limit / 100) / 2),
        method="bounded",
        options={"xatol": 1e-12},
    ).x
    own, tails = naive_score(gained, lost, n, limit / 100), [0.0, 0.0]
    for up in range(n + 1):
        for down in range(n + 1 - up):
            chance = multinomial.pmf(
                [up, down, n - up - down], n, [share + limit / 100, share, 1 - 2 * share - limit / 100]
            )
            if chance > 1e-10:
                score = naive_score(up, down, n, limit / 100)
                tails = [tails[0] + chance * (score <= own + 1e-5), tails[1] + chance * (score >= own - 1e-5)]
    assert few_changed_p(n, gained, lost, limit) == pytest.approx(min(1, 2 * min(tails)), abs=1e-5)


def test_p_of_many_that_changed_is_left_to_the_interval_with_which_it_agrees():
    assert few_changed_p(4000, 150, 180, -1.0) is None
    measured = 100 * (60 - 100) / 2000
    assert few_changed_p(2000, 60, 100, -1.0) == pytest.approx(
        p_from_interval(measured, interval(60, 100, 2000), -1.0), abs=0.02
    )
    assert few_changed_p(50, 0, 0, 99.0) < 1e-9


def test_p_falls_as_the_limit_goes_away_and_has_no_least_value():
    found = [p_from_interval(-4.0, (-6.0, -2.5), limit) for limit in (-4.0, -3.0, -2.5, -1.0, 0.0, 10.0)]
    assert found[0] == 1
    assert found[2] == pytest.approx(0.05)
    assert found == sorted(found, reverse=True)
    assert 0 < found[-1] < 1e-50


@pytest.mark.parametrize(("up", "down", "n", "limit"), [(0.02, 0.05, 400, -1.0), (0.05, 0.06, 300, -4.0)])
def test_as_many_pairs_as_are_said_to_settle_it_do_so_in_80_percent_of_samples(up, down, n, limit):
    truth = 100 * (up - down)
    measured = interval(round(up * n), round(down * n), n)
    needed = pairs_to_settle(n, truth, measured, limit, 1)
    assert needed > n
    counts = np.random.default_rng(6).multinomial(needed, [up, down, 1 - up - down], size=2000)
    lows, highs = score_bounds(np.full(2000, needed), counts[:, 0], counts[:, 1])
    settled = lows > limit / 100 if truth > limit else highs < limit / 100
    assert 74 <= 100 * settled.mean() <= 88


def test_more_gates_more_pairs_and_none_settle_what_is_on_the_limit_or_no_number():
    interval = (-3.0, 1.0)
    assert pairs_to_settle(100, -1.0, interval, -1.5, 20) > pairs_to_settle(100, -1.0, interval, -1.5, 1)
    assert pairs_to_settle(100, -1.0, interval, -1.0, 1) is None
    assert pairs_to_settle(100, -1.0, interval, -1.0001, 1) is None
    assert pairs_to_settle(100, math.nan, interval, -2.0, 1) is None
    assert pairs_to_settle(12_345, -1.0, (-1.0, -1.0), -2.0, 1) == 13_000


def test_a_detectable_change_beyond_the_limit_is_detected_in_80_percent_of_samples():
    n, limit = 1000, -0.01
    beyond = detectable_change(interval(45, 55, n)) / 100
    up, down = (0.1 + limit - beyond) / 2, (0.1 - limit + beyond) / 2
    counts = np.random.default_rng(7).multinomial(n, [up, down, 0.9], size=3000)
    _, highs = score_bounds(np.full(3000, n), counts[:, 0], counts[:, 1])
    assert 75 <= 100 * np.mean(highs < limit) <= 86
