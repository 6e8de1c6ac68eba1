import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from data_specs.errors import DataError
from tasks.scoring.saliency import ChannelStats, NotComparable
from tasks.scoring.scorers.uwm import MeanOfRatios, RatioOfMeans
from tests.cases.statistics import naive_scores, random_weight, stats_of


def mean_of_ratios(weight, safe, unsafe):
    mean = MeanOfRatios(weight)
    mean.add(safe, unsafe)
    return mean.scores()


def ratio_of_means(weight, safe, unsafe):
    ratio = RatioOfMeans(weight)
    ratio.add("safe", safe)
    ratio.add("unsafe", unsafe)
    return ratio.scores()


shapes = {"n_out": st.integers(1, 4), "n_in": st.integers(1, 5), "seed": st.integers(0, 2**31)}


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 4), **shapes)
def test_mean_of_ratios_equals_the_equations_written_out(n, n_out, n_in, seed):
    weight, safe, unsafe = random_weight(n_out, n_in, seed), stats_of(n, n_in, seed + 1), stats_of(n, n_in, seed + 2)
    expected = (naive_scores(weight, unsafe) / naive_scores(weight, safe)).mean(dim=0)
    found = mean_of_ratios(weight, safe, unsafe)
    assert found.dtype == torch.float32
    assert_close(found.double(), expected, rtol=2e-6, atol=0)


@settings(max_examples=25, deadline=None)
@given(n_safe=st.integers(1, 4), n_unsafe=st.integers(1, 4), **shapes)
def test_ratio_of_means_equals_the_equations_written_out(n_safe, n_unsafe, n_out, n_in, seed):
    weight = random_weight(n_out, n_in, seed)
    safe, unsafe = stats_of(n_safe, n_in, seed + 1), stats_of(n_unsafe, n_in, seed + 2)
    expected = naive_scores(weight, unsafe).mean(dim=0) / naive_scores(weight, safe).mean(dim=0)
    found = ratio_of_means(weight, safe, unsafe)
    assert found.dtype == torch.float32
    assert_close(found.double(), expected, rtol=2e-6, atol=0)


@pytest.mark.parametrize("score", [mean_of_ratios, ratio_of_means])
def test_same_statistics_on_both_sides_score_one_everywhere(score):
    stats = stats_of(5, 7, 0)
    assert_close(score(random_weight(6, 7, 0), stats, stats), torch.ones(6, 7), rtol=1e-6, atol=0)


@pytest.mark.parametrize("score", [mean_of_ratios, ratio_of_means])
def test_swapping_safe_and_unsafe_inverts_a_single_pairs_ratio(score):
    weight, safe, unsafe = random_weight(6, 7, 1), stats_of(1, 7, 2), stats_of(1, 7, 3)
    assert_close(score(weight, safe, unsafe) * score(weight, unsafe, safe), torch.ones(6, 7), rtol=1e-6, atol=0)


@pytest.mark.parametrize("score", [mean_of_ratios, ratio_of_means])
def test_the_sign_of_a_weight_does_not_matter(score):
    weight, safe, unsafe = random_weight(4, 5, 4), stats_of(3, 5, 5), stats_of(3, 5, 6)
    assert torch.equal(score(weight, safe, unsafe), score(-weight, safe, unsafe))


def test_twice_the_unsafe_norm_doubles_both_factors_of_the_ratio():
    weight, safe = random_weight(4, 5, 7), stats_of(3, 5, 8)
    unsafe = ChannelStats(2 * safe.norm, safe.std)
    assert_close(mean_of_ratios(weight, safe, unsafe), torch.full((4, 5), 4.0), rtol=1e-6, atol=0)


def test_pairs_added_batch_by_batch_give_one_batchs_scores():
    weight, safe, unsafe = random_weight(8, 6, 9), stats_of(50, 6, 10), stats_of(50, 6, 11)
    mean, ratio = MeanOfRatios(weight), RatioOfMeans(weight)
    for start, stop in ((0, 1), (1, 33), (33, 50)):
        parts = [ChannelStats(side.norm[start:stop], side.std[start:stop]) for side in (safe, unsafe)]
        mean.add(*parts)
        ratio.add("safe", parts[0])
        ratio.add("unsafe", parts[1])
    assert mean.n_pairs == 50
    assert ratio.n_samples == {"safe": 50, "unsafe": 50}
    assert_close(mean.scores(), mean_of_ratios(weight, safe, unsafe), rtol=1e-6, atol=0)
    assert_close(ratio.scores(), ratio_of_means(weight, safe, unsafe), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_weight_of_any_float_type_is_scored_in_float32(dtype):
    weight, safe, unsafe = random_weight(4, 5, 12).to(dtype), stats_of(3, 5, 13), stats_of(3, 5, 14)
    assert torch.equal(mean_of_ratios(weight, safe, unsafe), mean_of_ratios(weight.float(), safe, unsafe))


def test_transposed_statistics_are_refused_with_both_shapes():
    stats = stats_of(3, 5, 15)
    transposed = ChannelStats(stats.norm.T, stats.std.T)
    expected = r"norm is \[5, 3\], expected \[pairs, in\] = \[5, 5\]"
    with pytest.raises(DataError, match=expected):
        MeanOfRatios(random_weight(4, 5, 0)).add(transposed, transposed)
    with pytest.raises(DataError, match=expected):
        RatioOfMeans(random_weight(4, 5, 0)).add("safe", transposed)


def test_sides_of_different_length_are_no_pairs():
    with pytest.raises(DataError, match=r"norm is \[2, 5\], expected \[pairs, in\] = \[3, 5\]"):
        MeanOfRatios(random_weight(4, 5, 0)).add(stats_of(3, 5, 0), stats_of(2, 5, 0))


def test_a_std_of_another_shape_than_its_norm_is_refused():
    stats = stats_of(3, 5, 0)
    with pytest.raises(DataError, match=r"std is \[3, 4\], expected \[pairs, in\] = \[3, 5\]"):
        RatioOfMeans(random_weight(4, 5, 0)).add("unsafe", ChannelStats(stats.norm, stats.std[:, :4]))


def test_a_channel_silent_on_the_safe_side_is_refused_by_row_and_channel():
    safe, unsafe = stats_of(3, 5, 16), stats_of(3, 5, 17)
    safe.norm[2, 4] = 0
    with pytest.raises(NotComparable, match="input channel 4 of row 2") as caught:
        MeanOfRatios(random_weight(4, 5, 0)).add(safe, unsafe)
    assert (caught.value.axis, caught.value.row, caught.value.channel) == ("input", 2, 4)


def test_a_nan_and_an_output_without_weights_are_refused_by_row_and_channel():
    weight, safe, unsafe = random_weight(4, 5, 18), stats_of(3, 5, 19), stats_of(3, 5, 20)
    weight[3] = 0
    with pytest.raises(NotComparable, match="output channel 3 of row 0"):
        MeanOfRatios(weight).add(safe, unsafe)
    unsafe.std[1, 0] = float("nan")
    with pytest.raises(NotComparable, match="input channel 0 of row 1"):
        MeanOfRatios(random_weight(4, 5, 18)).add(safe, unsafe)


def test_what_was_refused_leaves_no_trace_in_the_mean():
    weight, safe, unsafe = random_weight(4, 5, 21), stats_of(3, 5, 22), stats_of(3, 5, 23)
    mean = MeanOfRatios(weight)
    mean.add(safe, unsafe)
    silent = ChannelStats(torch.zeros(3, 5), torch.zeros(3, 5))
    with pytest.raises(NotComparable):
        mean.add(silent, unsafe)
    assert mean.n_pairs == 3
    assert torch.equal(mean.scores(), mean_of_ratios(weight, safe, unsafe))


def test_ratio_of_means_bears_a_channel_that_is_silent_in_some_safe_samples_only():
    weight, safe, unsafe = random_weight(4, 5, 24), stats_of(3, 5, 25), stats_of(3, 5, 26)
    safe.norm[0, 2] = 0
    expected = naive_scores(weight, unsafe).mean(dim=0) / naive_scores(weight, safe).mean(dim=0)
    assert_close(ratio_of_means(weight, safe, unsafe).double(), expected, rtol=2e-6, atol=0)
    safe.norm[:, 2] = 0
    with pytest.raises(NotComparable, match="input channel 2 of row 0"):
        ratio_of_means(weight, safe, unsafe)


def test_scores_of_nothing_are_refused():
    weight = random_weight(4, 5, 0)
    with pytest.raises(DataError, match="no pair with both sides is left to score"):
        MeanOfRatios(weight).scores()
    ratio = RatioOfMeans(weight)
    ratio.add("safe", stats_of(1, 5, 0))
    with pytest.raises(DataError, match="no unsafe sample to score"):
        ratio.scores()
