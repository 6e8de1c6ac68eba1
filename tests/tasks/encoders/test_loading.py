import re

import open_clip
import pytest
import torch
from torch.testing import assert_close

from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig
from tasks.encoders.architecture import Architecture, build_model
from tasks.encoders.checkpoint import model_digest, tensor_digests
from tasks.encoders.loading import load_model, load_weights
from tests.cases.models import TINY_CLIP, TINY_COCA, TINY_SIGLIP, tiny_model, write_tiny_model

ARCHITECTURE = Architecture(TINY_CLIP, {}, None)
LAYER = "visual.transformer.resblocks.0.mlp.c_proj.weight"


@pytest.fixture(scope="module")
def state():
    return tiny_model().state_dict()


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_model_is_built_with_exactly_the_weights_of_its_file(tmp_path, state):
    loaded = load_model(write_tiny_model(tmp_path))
    assert same(loaded.model.state_dict(), state)
    assert not loaded.model.training
    assert loaded.digest == model_digest(tensor_digests(state))
    assert loaded.encoder_digest("text") != loaded.encoder_digest("vision")
    assert loaded.tokenizer(["a cat"]).shape == (1, 16)
    weights = loaded.target_weights("vision", "mlp_output")
    assert torch.equal(weights[LAYER.removesuffix(".weight")], state[LAYER])


def test_half_precision_weights_are_the_same_model_as_their_float32_values(state):
    half = {name: tensor.half() for name, tensor in state.items()}
    loaded = load_weights(ARCHITECTURE, half, source="half")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert loaded.digest == model_digest(tensor_digests(half))
    assert loaded.digest != model_digest(tensor_digests(state))


def test_building_a_model_leaves_torchs_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build_model(ARCHITECTURE)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"logit_scale": None}, "logit_scale is missing"),
        ({"more.weight": torch.ones(2)}, "more.weight is not part of it"),
        ({LAYER: torch.ones(128, 32)}, f"{LAYER} is [128, 32], not [32, 128]"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_tensor(state, change, expected):
    changed = {name: tensor for name, tensor in (state | change).items() if tensor is not None}
    text = f"model.weights w.pt do not fit the architecture: {expected}"
    with pytest.raises(SpecError, match=f"{re.escape(text)}$"):
        load_weights(ARCHITECTURE, changed, source="w.pt")


def test_of_many_tensors_that_do_not_fit_a_found_one_stands_beside_a_missing_one_and_the_rest_is_counted(state):
    wide = tiny_model({**TINY_CLIP, "embed_dim": 24}).state_dict()
    changed = {f"x.{name}": tensor for name, tensor in wide.items()}
    n = 2 * len(state)
    with pytest.raises(
        SpecError, match=rf"ln_final.bias is missing; x.ln_final.bias is not part of it; .* and {n - 3} more$"
    ):
        load_weights(ARCHITECTURE, changed, source="w.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_tensor(state, value):
    spoilt = state | {LAYER: state[LAYER].clone()}
    spoilt[LAYER][3, 4] = value
    with pytest.raises(SpecError, match=f"model.weights w.pt: tensor {re.escape(LAYER)} holds NaN or infinite values"):
        load_weights(ARCHITECTURE, spoilt, source="w.pt")


def test_what_no_encoder_uses_may_hold_anything():
    coca = tiny_model(TINY_COCA).state_dict()
    name = "text_decoder.text_projection"
    coca[name] = torch.full_like(coca[name], float("nan"))
    loaded = load_weights(Architecture(TINY_COCA, {}, None), coca, source="w.pt")
    assert loaded.model.get_parameter(name).isnan().all()


def test_clip_weights_are_renamed_for_a_model_with_a_text_tower_of_its_own(state):
    loaded = load_weights(Architecture({**TINY_CLIP, "custom_text": True}, {}, None), state, source="w.pt")
    assert torch.equal(loaded.model.text.token_embedding.weight, state["token_embedding.weight"])
    ids = torch.tensor([[5, 6, 63] + [0] * 13])
    with torch.inference_mode():
        assert_close(loaded.model.encode_text(ids), tiny_model().encode_text(ids), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cfg", [TINY_CLIP, TINY_SIGLIP, TINY_COCA], ids=["clip", "siglip", "coca"])
def test_the_observable_attention_answers_as_open_clips_own(cfg):
    ours = tiny_model(cfg)
    kinds = {"clip": open_clip.model.CLIP, "custom": open_clip.model.CustomTextCLIP, "coca": open_clip.CoCa}
    kind = "coca" if "multimodal_cfg" in cfg else "custom" if cfg.get("custom_text") else "clip"
    theirs = kinds[kind](**{name: value for name, value in cfg.items() if name != "custom_text"}).eval()
    assert any(isinstance(module, torch.nn.MultiheadAttention) for module in theirs.modules())
    theirs.load_state_dict(ours.state_dict())
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 32, 32, generator=generator)
    ids = torch.randint(2, 60, (4, 16), generator=generator)
    ids[:, 9], ids[:, 10:] = 63, 0
    with torch.inference_mode():
        for encode, inputs in (("encode_image", images), ("encode_text", ids)):
            found, expected = (getattr(model, encode)(inputs, normalize=True) for model in (ours, theirs))
            assert_close(found, expected, rtol=0, atol=2e-6)


def test_weights_that_are_neither_file_nor_tag_are_refused_with_the_tags_there_are():
    with pytest.raises(
        SpecError, match=r"'openia' is no file, no folder and no pretrained tag; tags of ViT-B-32 are openai"
    ):
        load_model(ModelConfig(architecture="ViT-B-32", weights="openia"))


def test_weights_of_another_layout_are_refused(state):
    with pytest.raises(SpecError, match="do not fit the architecture"):
        load_weights(Architecture(TINY_COCA, {}, None), state, source="w.pt")
