import math

import numpy as np
import pytest

from tasks.selection.ranking import Ranking

N = 300_001  # more than is looked at together


def scores_of_every_size(seed):
    """Any finite float32: of both signs, subnormal, huge, and zeros of both signs."""
    bits = np.random.default_rng(seed).integers(0, 2**32, N, dtype=np.uint32)
    scores = bits.view(np.float32)
    return np.concatenate([scores[np.isfinite(scores)], np.array([0.0, -0.0], np.float32)])


KINDS = {
    "of every size": scores_of_every_size,
    "positive": lambda seed: np.random.default_rng(seed).lognormal(size=N).astype(np.float32),
    "of both signs": lambda seed: np.random.default_rng(seed).normal(size=N).astype(np.float32),
    "with many equal ones": lambda seed: np.random.default_rng(seed).integers(-3, 4, N).astype(np.float32),
    "all equal": lambda seed: np.full(N, 0.1, np.float32),
    "subnormal": lambda seed: (np.random.default_rng(seed).normal(size=N) * 1e-41).astype(np.float32),
    "a single one": lambda seed: np.array([2.5], np.float32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_are_those_of_a_full_sort(kind):
    scores = KINDS[kind](0)
    ordered, ranking = np.sort(scores), Ranking(scores)
    ranks = np.random.default_rng(1).integers(0, len(scores), 20).tolist()
    for rank in (0, len(scores) - 1, *ranks):
        assert ranking.at(rank) == ordered[rank]
    shares = [0.0, 0.25, 0.5, 0.99, 1.0]
    expected = [ordered[max(0, math.ceil(share * len(scores)) - 1)] for share in shares]
    assert ranking.quantiles(shares) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_sum_is_exact_to_the_last_digits_of_a_double(kind):
    scores = KINDS[kind](2)
    size = math.fsum(np.abs(scores).tolist())
    assert abs(Ranking(scores).total - math.fsum(scores.tolist())) <= 1e-13 * size


def test_the_order_of_scores_decides_no_digit_of_their_sum():
    scores = KINDS["of both signs"](3)
    shuffled = np.random.default_rng(4).permutation(scores)
    assert Ranking(scores).total == Ranking(shuffled).total
    for tau in (0.01, 0.5, 0.98):
        positive = np.abs(scores), np.abs(shuffled)
        assert Ranking(positive[0]).left_by_mass(tau) == Ranking(positive[1]).left_by_mass(tau)


def test_a_class_keeps_its_sum_exact_where_adding_in_double_precision_one_by_one_would():
    # All of one class: equal in their leading 16 bits, different in the others.
    bits = (np.uint32(0x3F800000) + np.random.default_rng(5).integers(0, 2**16, N)).astype(np.uint32)
    scores = bits.view(np.float32)
    assert Ranking(scores).total == np.add.accumulate(scores.astype(np.float64))[-1] == math.fsum(scores.tolist())
