import re

import pytest
from torch import nn

from data_specs.errors import SpecError
from data_specs.families import encoder_of
from tasks.encoders.layers import target_layers
from tests.support import TINY_CLIP, TINY_COCA, TINY_SIGLIP, tiny_model

MODELS = {"clip": TINY_CLIP, "siglip": TINY_SIGLIP, "coca": TINY_COCA}


@pytest.fixture(scope="module", params=MODELS)
def family(request):
    return request.param, tiny_model(MODELS[request.param])


@pytest.fixture(scope="module")
def clip():
    return tiny_model()


def test_the_aliases_name_the_layers_that_end_each_block(family):
    name, model = family
    text = "transformer" if name == "clip" else "text.transformer"
    blocks = {"text": [f"{text}.resblocks.{i}" for i in range(2)]}
    endings = {"attention_output": "attn.out_proj", "mlp_output": "mlp.c_proj"}
    timm = {"attention_output": "attn.proj", "mlp_output": "mlp.fc2"}
    if name == "siglip":
        blocks["vision"] = [f"visual.trunk.blocks.{i}" for i in range(6)]
    else:
        blocks["vision"] = [f"visual.transformer.resblocks.{i}" for i in range(2)]
    for encoder in ("text", "vision"):
        suffixes = timm if (name, encoder) == ("siglip", "vision") else endings
        for alias, suffix in suffixes.items():
            assert list(target_layers(model, encoder, alias)) == [f"{block}.{suffix}" for block in blocks[encoder]]


def test_target_layers_are_the_models_own_linear_layers(family):
    _, model = family
    for encoder in ("text", "vision"):
        for alias in ("attention_output", "mlp_output"):
            for name, layer in target_layers(model, encoder, alias).items():
                assert isinstance(layer, nn.Linear)
                assert layer is model.get_submodule(name)
                assert encoder_of(name) == encoder


def test_decoders_and_pooling_heads_are_no_targets(family):
    name, model = family
    heads = {"siglip": "visual.trunk.attn_pool.", "coca": "text_decoder."}
    if name in heads:
        assert any(module.startswith(heads[name]) for module, _ in model.named_modules())
    for encoder in ("text", "vision"):
        for alias in ("attention_output", "mlp_output"):
            found = list(target_layers(model, encoder, alias))
            assert not [layer for layer in found if "text_decoder" in layer or "attn_pool" in layer]
        assert not [layer for layer in target_layers(model, encoder, "*") if layer.startswith("text_decoder.")]


def test_a_glob_chooses_among_the_encoders_own_layers(clip):
    assert list(target_layers(clip, "text", "*resblocks.1.*")) == [
        "transformer.resblocks.1.attn.out_proj",
        "transformer.resblocks.1.mlp.c_fc",
        "transformer.resblocks.1.mlp.c_proj",
    ]
    assert list(target_layers(clip, "vision", "visual.*.0.mlp.c_[fp]*")) == [
        "visual.transformer.resblocks.0.mlp.c_fc",
        "visual.transformer.resblocks.0.mlp.c_proj",
    ]
    assert len(target_layers(clip, "vision", "*")) == 6


def test_an_exact_name_is_a_glob_too(clip):
    name = "visual.transformer.resblocks.1.mlp.c_fc"
    assert list(target_layers(clip, "vision", name)) == [name]


@pytest.mark.parametrize(
    ("encoder", "layers"),
    [
        ("text", "mlp_outputs"),
        ("text", "visual.transformer.resblocks.0.mlp.c_proj"),
        ("vision", "transformer.resblocks.0.mlp.c_proj"),
        ("text", "*.ln_1"),
        ("text", "ATTENTION_OUTPUT"),
        ("vision", "visual.transformer.resblocks.9.*"),
    ],
)
def test_layers_that_match_nothing_are_refused_with_some_that_would(clip, encoder, layers):
    first = list(target_layers(clip, encoder, "*"))[:3]
    expected = (
        f"{encoder}.layers {layers!r} matches no linear layer of the {encoder} encoder; it has 6,"
        f" such as {', '.join(first)}; use attention_output, mlp_output or a glob"
    )
    with pytest.raises(SpecError, match=re.escape(expected)) as caught:
        target_layers(clip, encoder, layers)
    assert caught.value.exit_code == 2


def test_an_encoder_without_linear_layers_says_so():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.visual = nn.Conv2d(3, 4, 2)

    with pytest.raises(SpecError, match="matches no linear layer of the vision encoder; it has 0, such as none"):
        target_layers(Bare(), "vision", "mlp_output")


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("visual.conv1.weight", "vision"),
        ("transformer.resblocks.0.attn.out_proj", "text"),
        ("text.transformer.resblocks.0.attn.out_proj", "text"),
        ("token_embedding.weight", "text"),
        ("text_projection", "text"),
        ("logit_scale", None),
        ("logit_bias", None),
        ("text_decoder.resblocks.0.mlp.c_proj", None),
    ],
)
def test_every_parameter_belongs_to_one_encoder_or_none(name, encoder):
    assert encoder_of(name) == encoder
