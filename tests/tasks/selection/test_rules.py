from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs.errors import DataError
from tasks.selection.rules import select, select_above

# As a person writes them; the oracle reads them as exact decimals.
TAUS = ("0.01", "0.29", "0.3", "0.5", "0.57", "0.75", "0.9", "0.965", "0.98", "0.999")


def naive_selection(scores, rule, tau):
    """Full sort by (score, position), everything cumulated in exact fractions."""
    flat = [Fraction(float(score)) for score in scores.reshape(-1)]
    ascending = sorted(range(len(flat)), key=lambda position: (flat[position], position))
    if rule == "top_share":
        n_left = int(Fraction(tau) * len(flat))
        return sorted(ascending[n_left:])
    total, mass, selected = sum(flat), Fraction(0), []
    for position in ascending:
        mass += flat[position]
        if mass / total > Fraction(tau):
            selected.append(position)
    return sorted(selected)


def scores_of(values, shape=None):
    array = np.array(values, dtype=np.float32)
    return array if shape is None else array.reshape(shape)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.sampled_from(TAUS))
def test_score_mass_equals_a_full_sort_in_exact_arithmetic_with_many_ties(values, tau):
    if not any(values):
        values[0] = 1
    scores = scores_of(values)
    selection = select(scores, "score_mass", float(tau))
    assert selection.index.tolist() == naive_selection(scores, "score_mass", tau)
    assert selection.threshold == scores[selection.index].min()


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=120), st.sampled_from(TAUS))
def test_top_share_equals_a_full_sort_with_many_ties(values, tau):
    scores = scores_of(values)
    selection = select(scores, "top_share", float(tau))
    assert selection.index.tolist() == naive_selection(scores, "top_share", tau)
    assert selection.threshold == scores[selection.index].min()


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("rule", ["score_mass", "top_share"])
def test_random_scores_equal_a_full_sort(rule, tau):
    scores = np.random.default_rng(int(float(tau) * 1000)).random((37, 53), dtype=np.float32) ** 4
    assert select(scores, rule, float(tau)).index.tolist() == naive_selection(scores, rule, tau)


def test_index_is_flat_row_major_int64_and_ascending():
    scores = np.zeros((3, 4), np.float32)
    scores[2, 1], scores[0, 3] = 5, 4
    index = select(scores, "top_share", 10 / 12).index
    assert index.tolist() == [3, 9]
    assert index.dtype == np.int64


def test_a_strided_view_is_selected_from_in_its_own_row_major_order():
    scores = np.random.default_rng(0).random((8, 6), dtype=np.float32)
    for rule in ("score_mass", "top_share"):
        view, copy = select(scores.T, rule, 0.8), select(scores.T.copy(), rule, 0.8)
        assert view.index.tolist() == copy.index.tolist()


def test_among_equal_scores_the_later_position_is_selected_first():
    scores = scores_of([2, 1, 2, 1, 2, 2])
    assert select(scores, "top_share", 5 / 6).index.tolist() == [5]
    assert select(scores, "top_share", 0.5).index.tolist() == [2, 4, 5]
    # Mass, ascending: 1, 2, 4, 6, 8, 10 of 10; positions 1, 3, 0, 2, 4, 5.
    assert select(scores, "score_mass", 0.7).index.tolist() == [4, 5]
    assert select(scores, "score_mass", 0.15).index.tolist() == [0, 2, 3, 4, 5]


def test_a_mass_of_exactly_tau_is_left_alone():
    scores = scores_of([49, 1])
    assert select(scores, "score_mass", 0.02).index.tolist() == [0]
    assert select(scores, "score_mass", 0.0199).index.tolist() == [0, 1]
    quarters = scores_of([1, 1, 1, 1])
    assert select(quarters, "score_mass", 0.5).index.tolist() == [2, 3]
    assert select(quarters, "score_mass", 0.499).index.tolist() == [1, 2, 3]
    assert select(quarters, "score_mass", 0.75).index.tolist() == [3]


@pytest.mark.parametrize(("tau", "n_selected"), [(0.29, 71), (0.57, 43), (0.58, 42), (0.99, 1), (0.01, 99)])
def test_the_share_left_alone_is_rounded_down_in_decimal(tau, n_selected):
    # In binary, 0.29 * 100 is 28.999999999999996.
    assert len(select(np.arange(100, dtype=np.float32), "top_share", tau).index) == n_selected


@pytest.mark.parametrize("rule", ["score_mass", "top_share"])
def test_of_equal_scores_everywhere_the_last_positions_are_selected(rule):
    scores = np.full((10, 10), 0.1, np.float32)
    selection = select(scores, rule, 0.98)
    assert selection.index.tolist() == [98, 99]
    assert selection.threshold == np.float32(0.1)


def test_one_huge_score_is_selected_alone_by_its_mass():
    scores = np.full(1000, 1e-3, np.float32)
    scores[123] = 3e38
    selection = select(scores, "score_mass", 0.98)
    assert selection.index.tolist() == [123]
    assert selection.threshold == np.float32(3e38)


def test_sums_beyond_float32_do_not_overflow():
    scores = np.full(100, 3e38, np.float32)
    assert select(scores, "score_mass", 0.905).index.tolist() == list(range(90, 100))


def test_zero_scores_carry_no_mass_and_are_never_selected():
    scores = scores_of([0, 3, 0, 0, 1, 0])
    assert select(scores, "score_mass", 0.01).index.tolist() == [1, 4]


def test_a_single_weight_is_always_selected():
    for rule in ("score_mass", "top_share"):
        assert select(scores_of([2.0]), rule, 0.98).index.tolist() == [0]


def test_negative_zero_is_as_good_as_zero():
    assert select(scores_of([0.0, -0.0, 1.0]), "score_mass", 0.5).index.tolist() == [2]


@pytest.mark.parametrize("rule", ["score_mass", "top_share"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite_are_refused_and_counted(rule, value):
    scores = np.ones((4, 5), np.float32)
    scores[1, 2] = scores[3, 4] = value
    with pytest.raises(DataError, match="2 of 20 scores are NaN or infinite"):
        select(scores, rule, 0.5)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("n", [5, 40, 700])
def test_negative_scores_lower_the_mass_and_the_definition_stays(n, seed):
    generator = np.random.default_rng(seed)
    scores = (generator.normal(0.4, 1, (1, n))).astype(np.float32)
    while scores.sum(dtype=np.float64) <= 0.01 * n:
        scores += np.float32(1)
    values = sorted(scores.ravel().tolist())
    total, cumulated, expected = sum(values), 0.0, 0
    for value in values:
        cumulated += value
        expected += cumulated / total > 0.9
    found = select(scores, "score_mass", 0.9)
    assert len(found.index) == expected
    assert sorted(scores.ravel()[found.index].tolist()) == values[n - expected :]


def test_scores_of_no_positive_sum_have_no_mass_but_a_rank():
    scores = scores_of([1, -3, 1.5])
    with pytest.raises(DataError, match=r"score_mass needs a positive sum of scores, got -0\.5; use rule top_share"):
        select(scores, "score_mass", 0.5)
    assert select(scores, "top_share", 0.5).index.tolist() == [0, 2]


def test_scores_that_are_all_zero_have_no_mass():
    with pytest.raises(DataError, match="score_mass needs a positive sum of scores, got 0; use rule top_share"):
        select(np.zeros((3, 3), np.float32), "score_mass", 0.5)


@pytest.mark.parametrize("rule", ["score_mass", "top_share"])
@pytest.mark.parametrize("tau", TAUS)
def test_smallest_selected_score_and_count_stand_for_a_selection_with_all_its_ties(rule, tau):
    scores = np.random.default_rng(7).integers(1, 9, (40, 30)).astype(np.float32)
    asked = select(scores, rule, float(tau))
    again = select_above(scores, asked.threshold, len(asked.index))
    assert again.index.tolist() == asked.index.tolist()
    assert again.threshold == asked.threshold


def test_without_a_smallest_selected_score_nothing_is_selected():
    assert select_above(scores_of([1, 2, 3]), None, 0).index.tolist() == []
