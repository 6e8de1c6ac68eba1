"""Every scorer against the equations written out, and against the released code's numbers."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize
from torch.testing import assert_close

from data_specs.errors import DataError, SpecError
from data_specs.run_config import ACTIVATION_SCORERS, ENCODERS, GRADIENT_SCORERS, EncoderConfig, ScorerName
from tasks.activations.statistics import channel_statistics
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.encoders.forward import encode
from tasks.encoders.tokens import valid_text_tokens
from tasks.scoring.gradients.embedding_gradients import BatchGradients, gradients_of_safe
from tasks.scoring.gradients.gradient_pass import differentiable, weight_gradients
from tasks.scoring.gradients.windows import pair_windows
from tasks.scoring.saliency import ChannelStats
from tasks.scoring.scorer import ActivationScorer, BatchMembers, GradientScorer, WeightScorer
from tasks.scoring.scorers.gradient_safe_clip import redirection_loss
from tasks.scoring.scorers.gradient_unsafe import preference_loss
from tasks.scoring.scorers.registry import SCORERS, find_scorer
from tests.cases.golden_case import golden_case, golden_model, golden_numbers
from tests.cases.statistics import naive_scores, random_statistics, random_weight, stats_of

CPU = torch.device("cpu")
RELEASED = {"gradient_unsafe": "GradientUnsafe", "gradient_safe_clip": "GradientSafeCLIP"}
WEIGHTED = {"text": True, "vision": False}


def settings_of(scorer, **changes):
    return EncoderConfig(scorer=scorer, layers="x", weight_by_magnitude=False, **changes)


def by_activations(scorer, weight, safe, unsafe):
    scores = find_scorer(scorer, ActivationScorer).start(weight, settings_of(scorer))
    scores.add("safe", safe)
    scores.add("unsafe", unsafe)
    return scores.scores()


def test_there_is_a_scorer_for_every_name_and_it_reads_what_the_settings_think():
    assert set(SCORERS) == set(get_args(ScorerName))
    for name, scorer in SCORERS.items():
        assert isinstance(scorer, ActivationScorer) == (name in ACTIVATION_SCORERS)
        assert isinstance(scorer, GradientScorer) == (name in GRADIENT_SCORERS)
    with pytest.raises(SpecError, match="scorer magnitude is a WeightScorer, expected a GradientScorer"):
        find_scorer("magnitude", GradientScorer)


shapes = {"n_out": st.integers(1, 4), "n_in": st.integers(1, 5), "seed": st.integers(0, 2**31)}


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 4), m=st.integers(1, 4), **shapes)
def test_unsafe_only_and_difference_equal_the_equations_written_out(n, m, n_out, n_in, seed):
    weight, safe, unsafe = random_weight(n_out, n_in, seed), stats_of(n, n_in, seed + 1), stats_of(m, n_in, seed + 2)
    means = naive_scores(weight, unsafe).mean(dim=0), naive_scores(weight, safe).mean(dim=0)
    assert_close(by_activations("unsafe_only", weight, safe, unsafe).double(), means[0], rtol=2e-6, atol=1e-9)
    found = by_activations("difference", weight, safe, unsafe).double()
    assert_close(found, means[0] - means[1], rtol=2e-6, atol=1e-5 * float(means[0].abs().max()))


def test_the_same_statistics_on_both_sides_differ_nowhere():
    weight, stats = random_weight(5, 7, 0), stats_of(6, 7, 1)
    assert not by_activations("difference", weight, stats, stats).any()


@pytest.mark.parametrize("scorer", ["unsafe_only", "difference"])
def test_a_side_without_samples_is_refused(scorer):
    scores = find_scorer(scorer, ActivationScorer).start(random_weight(4, 5, 0), settings_of(scorer))
    scores.add("safe", stats_of(2, 5, 0))
    with pytest.raises(DataError, match="no unsafe sample is left to score; look at the tags and at the shards"):
        scores.scores()


def test_statistics_of_another_width_are_refused_with_both_shapes():
    scores = find_scorer("unsafe_only", ActivationScorer).start(random_weight(4, 5, 0), settings_of("unsafe_only"))
    with pytest.raises(DataError, match=r"norm is \[3, 6\], expected \[pairs, in\] = \[3, 5\]"):
        scores.add("unsafe", ChannelStats(*random_statistics(3, 6, 0)))


def test_magnitude_is_the_size_of_a_weight():
    weight = random_weight(4, 5, 3)
    assert torch.equal(find_scorer("magnitude", WeightScorer).scores(weight, "x", 0), weight.abs())


def test_random_scores_depend_on_seed_and_layer_alone_and_are_uniform():
    scorer = find_scorer("random", WeightScorer)
    first = scorer.scores(random_weight(200, 300, 0), "a", 1)
    assert torch.equal(first, scorer.scores(random_weight(200, 300, 9), "a", 1))
    others = [scorer.scores(first, "b", 1), scorer.scores(first, "a", 2)]
    assert all(abs(torch.corrcoef(torch.stack([first.flatten(), o.flatten()]))[0, 1]) < 0.02 for o in others)
    counts = torch.histc(first, 10, 0, 1)
    assert ((counts - 6000).abs() < 6 * 6000**0.5).all()


def members(n, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return [normalize(torch.randn(n, width, generator=generator, dtype=torch.float64), dim=1) for _ in range(4)]


@pytest.mark.parametrize("seed", range(3))
def test_losses_equal_their_equations_written_out(seed):
    own_safe, own_unsafe, other_safe, other_unsafe = members(5, 4, seed)
    batch = BatchMembers(own_safe, own_unsafe, other_safe, other_unsafe)
    cosine = lambda a, b: sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))  # noqa: E731
    preference = [cosine(own_safe[b], other_safe[b]) - cosine(own_safe[b], other_unsafe[b]) for b in range(5)]
    assert preference_loss(batch).item() == pytest.approx(sum(preference) / 5, rel=1e-12)
    logits = torch.tensor([[100 * cosine(other_unsafe[a], own_safe[b]) for b in range(5)] for a in range(5)])
    logits = logits.double()
    right = [logits[b, b] - logits[b].logsumexp(0) for b in range(5)]
    left = [logits[b, b] - logits[:, b].logsumexp(0) for b in range(5)]
    distance = [1 - cosine(own_safe[b], own_unsafe[b]) for b in range(5)]
    expected = -(sum(right) + sum(left)).item() / 10 + sum(distance) / 5
    assert redirection_loss(batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def case():
    return golden_case()


@pytest.fixture(scope="module")
def expected():
    return golden_numbers()


@pytest.fixture(scope="module")
def model():
    return golden_model()


@pytest.fixture(scope="module")
def embedded(model, expected):
    with torch.no_grad():
        texts, images = encode(model, "text", expected["token_ids"]), encode(model, "vision", expected["images"])
    ids = [f"shard of pair/{b}" for b in range(12)]
    return EmbeddedPairs(ids, [None] * 12, texts[:12], texts[12:], images[:12], images[12:])


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("scorer", GRADIENT_SCORERS)
def test_gradient_scores_taken_in_pieces_are_the_released_ones(case, expected, model, embedded, encoder, scorer):
    inputs = {"text": expected["token_ids"], "vision": expected["images"]}[encoder][:12]
    own_gradients = gradients_of_safe(find_scorer(scorer, GradientScorer).loss)
    [window] = pair_windows([embedded.pair_ids], 12)
    found = BatchGradients(lambda _: embedded, encoder, own_gradients, CPU).of(window)
    gradients = torch.cat([pair.gradient for pair in found])
    weights = {layer: model.get_parameter(f"{layer}.weight") for layer in case["layers"][encoder]}
    sums = {layer: torch.zeros_like(weight) for layer, weight in weights.items()}
    with differentiable(model, weights.values()):
        for start in range(0, 12, 5):
            piece = slice(start, start + 5)
            for layer, part in weight_gradients(model, encoder, weights, inputs[piece], gradients[piece]).items():
                sums[layer] += part
    for layer, total in sums.items():
        released = expected[f"{RELEASED[scorer]}.score/{layer}"].float()
        # The released code's InfoNCE scale is exp(4.6052), 3e-5 above 100.
        assert_close(total.abs(), released, rtol=1e-4, atol=1e-5 * float(released.max()))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("scorer", ["unsafe_only", "difference"])
def test_activation_scores_are_the_released_ones(case, expected, model, encoder, scorer):
    inputs = {"text": expected["token_ids"], "vision": expected["images"]}[encoder]
    valid = valid_text_tokens(model, inputs) if encoder == "text" else None
    seen = {}
    layers = {layer: model.get_submodule(layer) for layer in case["layers"][encoder]}
    hooks = [
        module.register_forward_pre_hook(lambda _m, args, layer=layer: seen.update({layer: args[0].detach()}))
        for layer, module in layers.items()
    ]
    with torch.no_grad():
        encode(model, encoder, inputs)
    for hook in hooks:
        hook.remove()
    for layer, module in layers.items():
        norm, std = channel_statistics(seen[layer], valid)
        sides = [ChannelStats(norm[rows], std[rows]) for rows in (slice(0, 12), slice(12, 24))]
        weight = module.weight.detach()
        scores = by_activations(scorer, weight, *sides) * (weight.abs() if WEIGHTED[encoder] else 1)
        released = expected[f"{scorer}.score/{layer}"].float()
        assert_close(scores, released, rtol=1e-4, atol=1e-5 * float(released.abs().max()))
