import re

import open_clip
import pytest
import torch
from torch import nn

from data_specs.errors import SpecError
from data_specs.families import encoder_of
from tasks.encoders.layers import target_layers
from tests.cases.models import TINY_CLIP, TINY_COCA, TINY_SIGLIP, tiny_model

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
        target_layers(Bare(), "vision", "*")
    with pytest.raises(SpecError, match="the vision encoder is Conv2d, which is of no known family; it has 0 linear"):
        target_layers(Bare(), "vision", "mlp_output")


def published(name):
    """An open_clip model by name, without memory for its weights."""
    cfg = open_clip.get_model_config(name)
    for tower in ("vision_cfg", "text_cfg"):
        cfg[tower] = {key: value for key, value in cfg[tower].items() if key != "timm_model_pretrained"}
    custom = cfg.pop("custom_text", False)
    kind = open_clip.CoCa if "multimodal_cfg" in cfg else open_clip.CustomTextCLIP if custom else open_clip.CLIP
    with torch.device("meta"):
        return kind(**cfg)


PLAIN = {"ViT-B-32": 12, "ViT-B-16": 12, "ViT-L-14": 24, "ViT-L-14-336": 24, "ViT-H-14": 32, "ViT-B-32-quickgelu": 12}
SIGLIPS = {"ViT-B-16-SigLIP": (12, 12), "ViT-SO400M-14-SigLIP-384": (27, 27), "ViT-L-16-SigLIP2-256": (24, 24)}
COCAS = {"coca_ViT-B-32": (12, 12), "coca_ViT-L-14": (24, 12)}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PLAIN, *SIGLIPS, *COCAS])
def test_the_aliases_name_every_block_of_the_published_models(name):
    model = published(name)
    n_vision, n_text = {"ViT-H-14": (32, 24), **SIGLIPS, **COCAS}.get(name, (PLAIN.get(name), 12))
    vision, endings = "visual.transformer.resblocks", {"attention_output": "attn.out_proj", "mlp_output": "mlp.c_proj"}
    text = "transformer.resblocks" if name in PLAIN else "text.transformer.resblocks"
    timm = {"attention_output": "attn.proj", "mlp_output": "mlp.fc2"} if name in SIGLIPS else endings
    if name in SIGLIPS:
        vision = "visual.trunk.blocks"
    for alias, ending in endings.items():
        assert list(target_layers(model, "vision", alias)) == [f"{vision}.{i}.{timm[alias]}" for i in range(n_vision)]
        assert list(target_layers(model, "text", alias)) == [f"{text}.{i}.{ending}" for i in range(n_text)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RN50", r"the vision encoder is ModifiedResNet, .*; it has 4 linear layers, such as visual.attnpool.k_proj,"),
        (
            "convnext_base",
            r"the vision encoder is TimmModel around ConvNeXt, .*, such as visual.trunk.stages.0.blocks.0",
        ),
        (
            "swin_base_patch4_window7_224",
            r"the vision encoder is TimmModel around SwinTransformer, .*visual.trunk.layers",
        ),
    ],
)
def test_a_tower_of_no_known_family_is_refused_with_what_was_found_and_what_is_known(name, expected):
    model = published(name)
    known = (
        r"known are open_clip: visual.transformer.resblocks.N.mlp.c_proj; timm: visual.trunk.blocks.N.mlp.fc2; name its"
        r" layers by a glob"
    )
    with pytest.raises(SpecError, match=rf"^vision.layers 'mlp_output': {expected}.*{known}"):
        target_layers(model, "vision", "mlp_output")
    assert target_layers(model, "text", "mlp_output")
    assert target_layers(model, "vision", "visual.*")


def test_a_hugging_face_text_tower_is_refused_by_alias_and_taken_by_glob():
    from transformers import RobertaConfig, RobertaModel

    class HFTextEncoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.transformer = RobertaModel(
                RobertaConfig(
                    vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=9
                )
            )

    model = nn.Module()
    model.text = HFTextEncoder()
    with pytest.raises(SpecError, match="the text encoder is HFTextEncoder around RobertaModel, which is of no known"):
        target_layers(model, "text", "attention_output")
    assert list(target_layers(model, "text", "*.attention.output.dense")) == [
        f"text.transformer.encoder.layer.{i}.attention.output.dense" for i in range(2)
    ]


def test_a_tower_of_which_only_some_blocks_look_familiar_is_refused():
    model = tiny_model()
    model.visual.transformer.resblocks[1].mlp.c_proj = nn.Identity()
    assert target_layers(model, "vision", "attention_output")
    with pytest.raises(SpecError, match=r"the vision encoder is VisionTransformer.*of no known family"):
        target_layers(model, "vision", "mlp_output")


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
