import math

import numpy as np
import pytest

from data_specs.errors import NotSelectable
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


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_prepared_in_one_pass_is_what_is_found_without(kind):
    scores = np.abs(KINDS[kind](6))
    shares, masses = [0.0, 0.5, 0.98, 1.0], [0.01, 0.5, 0.98]
    prepared, plain = Ranking(scores), Ranking(scores)
    prepared.prepare(shares, masses)
    assert prepared.quantiles(shares) == plain.quantiles(shares)
    assert [prepared.left_by_mass(tau) for tau in masses] == [plain.left_by_mass(tau) for tau in masses]


def test_of_zeros_the_negative_ones_come_first():
    ranking = Ranking(np.array([0.0, -0.0, 0.0, -0.0, -1e-45, 1e-45], np.float32))
    assert [math.copysign(1, ranking.at(rank)) for rank in range(6)] == [-1, -1, -1, 1, 1, 1]


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FC00000, 0xFFFFFFFF, 0xFF800000], ids=hex)
def test_every_kind_of_nan_and_infinity_is_refused_without_a_warning(bits):
    scores = np.ones(10, np.float32)
    scores.view(np.uint32)[3] = bits
    with pytest.raises(NotSelectable, match="1 of 10 scores are NaN or infinite"):
        Ranking(scores)
