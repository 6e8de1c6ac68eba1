import math

import open_clip
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from data_specs.errors import DataError, SpecError
from data_specs.schemas import activation_stats_schema
from tasks.activations.capture import StatisticsObserver
from tasks.activations.statistics import channel_statistics
from tasks.encoders.tokens import valid_text_tokens
from tasks.extraction.columns import vectors
from tasks.extraction.shard_pass import NotFinite
from tests.cases.models import TINY_CLIP, TINY_COCA, TINY_SIGLIP, tiny_model


def naive_statistics(inputs, valid):
    """Norm and std of each sample and channel, one number at a time, in float64."""
    norms, stds = [], []
    for sample, kept in zip(inputs.double(), valid, strict=True):
        norm, std = [], []
        for channel in sample[kept].T.tolist():
            mean = math.fsum(channel) / len(channel)
            norm.append(math.sqrt(math.fsum(z * z for z in channel)))
            std.append(math.sqrt(math.fsum((z - mean) ** 2 for z in channel) / (len(channel) - 1)))
        norms.append(norm)
        stds.append(std)
    return torch.tensor(norms, dtype=torch.float64), torch.tensor(stds, dtype=torch.float64)


def random_mask(samples, tokens, generator):
    """At least two valid tokens a sample, at any place."""
    mask = torch.rand(samples, tokens, generator=generator) < 0.5
    for row in mask:
        row[torch.randperm(tokens, generator=generator)[:2]] = True
    return mask


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 7), st.integers(1, 5), st.booleans())
def test_statistics_equal_the_equations_written_out(seed, samples, tokens, width, masked):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, tokens, width, generator=generator) * 10
    mask = random_mask(samples, tokens, generator) if masked else None
    norm, std = channel_statistics(inputs, mask)
    everything = torch.ones(samples, tokens, dtype=torch.bool)
    expected_norm, expected_std = naive_statistics(inputs, everything if mask is None else mask)
    assert norm.dtype == std.dtype == torch.float32
    assert_close(norm.double(), expected_norm, rtol=1e-5, atol=1e-6)
    assert_close(std.double(), expected_std, rtol=1e-5, atol=1e-5)


def test_what_stands_at_padding_never_counts():
    generator = torch.Generator().manual_seed(1)
    inputs, mask = torch.randn(3, 6, 4, generator=generator), random_mask(3, 6, generator)
    expected = channel_statistics(inputs, mask)
    for garbage in (float("nan"), float("inf"), 1e30):
        spoilt = torch.where(mask[:, :, None], inputs, garbage)
        for found, clean in zip(channel_statistics(spoilt, mask), expected, strict=True):
            assert torch.equal(found, clean)


def test_no_digits_cancel_where_a_channel_hardly_varies_around_a_large_mean():
    generator = torch.Generator().manual_seed(2)
    inputs = 1000 + 0.01 * torch.randn(2, 50, 8, generator=generator)
    norm, std = channel_statistics(inputs, None)
    expected_norm, expected_std = naive_statistics(inputs, torch.ones(2, 50, dtype=torch.bool))
    assert_close(norm.double(), expected_norm, rtol=1e-6, atol=0)
    assert_close(std.double(), expected_std, rtol=1e-2, atol=0)


@pytest.mark.parametrize("masked", [False, True])
def test_statistics_over_one_batch_equal_those_over_many(masked):
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(24, 50, 768, generator=generator)
    mask = random_mask(24, 50, generator) if masked else None
    whole = channel_statistics(inputs, mask)
    for row in (0, 12, 13, 14, 23):
        alone = channel_statistics(inputs[row : row + 1], None if mask is None else mask[row : row + 1])
        for one, many in zip(alone, whole, strict=True):
            assert_close(one[0], many[row], rtol=1e-6, atol=0)


def test_half_precision_activations_are_reduced_in_float32():
    inputs = torch.full((1, 300, 2), 600.0, dtype=torch.float16)
    inputs[0, ::2] = 500.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        norm, std = channel_statistics(inputs, None)
    expected_norm, expected_std = naive_statistics(inputs, torch.ones(1, 300, dtype=torch.bool))
    assert_close(norm.double(), expected_norm, rtol=1e-6, atol=0)
    assert_close(std.double(), expected_std, rtol=1e-6, atol=0)


def test_std_of_a_single_valid_token_is_nan():
    norm, std = channel_statistics(torch.ones(1, 3, 2), torch.tensor([[True, False, False]]))
    assert torch.equal(norm, torch.ones(1, 2))
    assert bool(std.isnan().all())


def test_misshapen_activations_or_masks_are_refused_with_both_shapes():
    with pytest.raises(DataError, match=r"activations are \[3, 4\] with mask None, expected \[samples, tokens, in\]"):
        channel_statistics(torch.ones(3, 4), None)
    with pytest.raises(DataError, match=r"activations are \[2, 5, 4\] with mask \[2, 4\]"):
        channel_statistics(torch.ones(2, 5, 4), torch.ones(2, 4, dtype=torch.bool))


def inputs_for(encoder, generator, n=3):
    if encoder == "vision":
        return torch.randn(n, 3, 32, 32, generator=generator)
    ids = torch.randint(2, 60, (n, 16), generator=generator)
    for row, length in enumerate((4, 9, 16)):
        ids[row, length - 1] = 63
        ids[row, length:] = 0
    return ids


def identity_of(n):
    text = pa.array([f"row {i}" for i in range(n)], pa.string())
    return {"pair_id": text, "content": text, "tag": text}


def encode(model, encoder, inputs):
    with torch.inference_mode():
        return model.encode_image(inputs) if encoder == "vision" else model.encode_text(inputs)


@pytest.mark.parametrize("layers", ["attention_output", "mlp_output"])
@pytest.mark.parametrize("encoder", ["text", "vision"])
@pytest.mark.parametrize("cfg", [TINY_CLIP, TINY_SIGLIP, TINY_COCA], ids=["clip", "siglip", "coca"])
def test_an_observer_reduces_exactly_what_reaches_the_layer(cfg, encoder, layers):
    model = tiny_model(cfg)
    inputs = inputs_for(encoder, torch.Generator().manual_seed(4))
    mask = valid_text_tokens(model, inputs) if encoder == "text" else None
    observer = StatisticsObserver(model, encoder, layers)
    raw = {}
    names = [folder.split("layer=")[1] for folder in observer.schemas()]
    for name in names:
        model.get_submodule(name).register_forward_pre_hook(lambda _, args, name=name: raw.setdefault(name, args[0]))
    with observer:
        observer.prepare(mask)
        rows = observer.rows(identity_of(3), encode(model, encoder, inputs))
    assert list(rows) == [f"encoder={encoder}/layer={name}" for name in names]
    for name, batch in zip(names, rows.values(), strict=True):
        valid = torch.ones(raw[name].shape[:2], dtype=torch.bool) if mask is None else mask
        assert batch.schema.equals(activation_stats_schema(raw[name].shape[2]), check_metadata=True)
        assert batch.column("n_tokens").to_pylist() == valid.sum(dim=1).tolist()
        table = pa.Table.from_batches([batch])
        expected = naive_statistics(raw[name], valid)
        for column, values in zip(("norm", "std"), expected, strict=True):
            assert_close(vectors(table.column(column), column).double(), values, rtol=1e-5, atol=1e-6)


def test_each_batch_starts_anew_and_no_hook_outlives_the_block():
    model = tiny_model()
    first, second = (inputs_for("vision", torch.Generator().manual_seed(seed)) for seed in (5, 6))
    with StatisticsObserver(model, "vision", "mlp_output") as observer:
        observer.prepare(None)
        observer.rows(identity_of(3), encode(model, "vision", first))
        observer.prepare(None)
        again = observer.rows(identity_of(3), encode(model, "vision", second))
    with StatisticsObserver(model, "vision", "mlp_output") as fresh:
        fresh.prepare(None)
        alone = fresh.rows(identity_of(3), encode(model, "vision", second))
    assert list(again.values()) == list(alone.values())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_target_layer_that_was_never_called_is_refused():
    # Built by open_clip itself: nn.MultiheadAttention reads out_proj.weight without calling the module.
    model = open_clip.model.CLIP(**TINY_CLIP).eval()
    inputs = inputs_for("text", torch.Generator().manual_seed(7))
    with StatisticsObserver(model, "text", "attention_output") as observer:
        observer.prepare(valid_text_tokens(model, inputs))
        embeddings = encode(model, "text", inputs)
        with pytest.raises(
            SpecError, match=r"text.layers: layer transformer.resblocks.0.attn.out_proj was called 0 times"
        ):
            observer.rows(identity_of(3), embeddings)


def test_a_target_layer_that_was_called_twice_is_refused():
    model = tiny_model()
    inputs = inputs_for("vision", torch.Generator().manual_seed(8))
    with StatisticsObserver(model, "vision", "mlp_output") as observer:
        observer.prepare(None)
        encode(model, "vision", inputs)
        embeddings = encode(model, "vision", inputs)
        with pytest.raises(SpecError, match=r"mlp.c_proj was called 2 times in a forward pass, expected once"):
            observer.rows(identity_of(3), embeddings)


def test_a_statistic_that_is_not_finite_names_its_layer_and_row():
    model = tiny_model()
    inputs = inputs_for("vision", torch.Generator().manual_seed(9))
    inputs[1, 0, 0, 0] = float("nan")
    with StatisticsObserver(model, "vision", "mlp_output") as observer:
        observer.prepare(None)
        embeddings = encode(model, "vision", inputs)
        with pytest.raises(
            NotFinite, match=r"the statistics of layer visual.transformer.resblocks.0.mlp.c_proj"
        ) as caught:
            observer.rows(identity_of(3), embeddings)
    assert caught.value.row == 1
