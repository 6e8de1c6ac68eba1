"""The sign filter against its first-order equation, and the selection among what it leaves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs.errors import DataError, NotSelectable
from tasks.selection.rules import select
from tasks.selection.sign import kept_by_sign, select_kept

RULES = ("score_mass", "top_share")


def drawn(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_what_is_kept_lowers_a_linear_loss_when_negated_and_the_opposite_raises_it():
    weights, slopes = drawn((7, 9)), drawn((7, 9), 1)

    def loss_after(position):
        negated = weights.astype(np.float64)
        negated[position] *= -1
        return (negated * slopes).sum()

    before = (weights.astype(np.float64) * slopes).sum()
    kept, against = kept_by_sign(weights, slopes, "loss"), kept_by_sign(weights, slopes, "against")
    for position in np.ndindex(weights.shape):
        assert kept[position] == (loss_after(position) < before)
        assert against[position] == (loss_after(position) > before)


def test_a_weight_or_slope_of_zero_is_kept_by_neither_and_a_tiny_product_does_not_vanish():
    weights = np.array([[0.0, 1.0, 1e-30, -1e-30]], np.float32)
    slopes = np.array([[1.0, 0.0, 1e-30, 1e-30]], np.float32)
    assert kept_by_sign(weights, slopes, "loss").tolist() == [[False, False, True, False]]
    assert kept_by_sign(weights, slopes, "against").tolist() == [[False, False, False, True]]
    assert kept_by_sign(weights, slopes, "none").all()


def test_slopes_of_another_layer_are_refused():
    with pytest.raises(DataError, match=r"slopes are \[3, 4\], expected those of the weights, \[4, 3\]"):
        kept_by_sign(drawn((4, 3)), drawn((3, 4)), "loss")


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40),
    st.sampled_from(RULES),
    st.sampled_from((0.01, 0.3, 0.5, 0.9, 0.98)),
)
def test_as_many_as_without_a_filter_are_selected_and_they_are_the_highest_that_are_left(given_weights, rule, tau):
    scores = np.array([score for score, _ in given_weights], np.float32)[None]
    scores[0, 0] += 1
    kept = np.array([left for _, left in given_weights])[None]
    n_asked = len(select(scores, rule, tau).index)
    found = select_kept(scores, rule, tau, kept)
    candidates = sorted(np.flatnonzero(kept).tolist(), key=lambda position: (scores[0, position], position))
    assert found.index.tolist() == sorted(candidates[max(0, len(candidates) - n_asked) :])
    assert found.threshold == (scores[0, found.index].min() if len(found.index) else None)


@pytest.mark.parametrize("rule", RULES)
def test_a_filter_that_leaves_everything_changes_nothing(rule):
    scores = np.abs(drawn((37, 53)))
    found, expected = select_kept(scores, rule, 0.9, np.ones(scores.shape, bool)), select(scores, rule, 0.9)
    assert np.array_equal(found.index, expected.index)
    assert found.threshold == expected.threshold
    assert found.index.dtype == np.int64


def test_scores_that_no_rule_can_take_are_refused_as_without_a_filter():
    with pytest.raises(NotSelectable, match="use rule top_share"):
        select_kept(-np.ones((2, 2), np.float32), "score_mass", 0.5, np.ones((2, 2), bool))
