import json
from copy import deepcopy
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig
from tasks.encoders.architecture import build_model, describe_architecture
from tasks.encoders.checkpoint import model_digest, tensor_digests
from tasks.encoders.loading import load_model
from tasks.encoders.transformers_config import clip_config, fitted_architecture
from tasks.encoders.transformers_format import read_checkpoint, to_open_clip, to_transformers
from tests.cases.models import TINY_CLIP, TINY_COCA, TINY_SIGLIP, tiny_model, write_tiny_clip_model

# Widths, heads, layers and patches that differ between the towers and from model to model.
SHAPES = {
    "quick gelu": {
        "embed_dim": 24,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 64, "width": 48, "heads": 4, "layers": 3},
    },
    "gelu": {
        "embed_dim": 40,
        "quick_gelu": False,
        "vision_cfg": {"image_size": 30, "layers": 3, "width": 48, "head_width": 8, "patch_size": 10, "mlp_ratio": 2.0},
        "text_cfg": {"context_length": 9, "vocab_size": 99, "width": 16, "heads": 1, "layers": 1, "mlp_ratio": 3.0},
    },
    "text tower of its own": {
        "embed_dim": 16,
        "custom_text": True,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "head_width": 32, "patch_size": 4},
        "text_cfg": {"context_length": 12, "vocab_size": 50, "width": 64, "heads": 8, "layers": 2},
    },
}


@pytest.fixture(params=SHAPES)
def checkpoint(request, tmp_path):
    """A random CLIPModel of transformers, its folder, and the settings that load it."""
    cfg = SHAPES[request.param]
    theirs = write_tiny_clip_model(tmp_path / "clip", cfg)
    return cfg, theirs, tmp_path / "clip", settings(tmp_path, cfg)


def settings(folder, cfg, weights="clip"):
    (folder / "model.json").write_text(json.dumps(cfg))
    return ModelConfig(architecture=str(folder / "model.json"), weights=str(folder / weights))


def inputs(cfg):
    generator = torch.Generator().manual_seed(1)
    side, text = cfg["vision_cfg"]["image_size"], cfg["text_cfg"]
    images = torch.randn(3, 3, side, side, generator=generator)
    ids = torch.randint(1, text["vocab_size"] - 2, (3, text["context_length"]), generator=generator)
    for row, length in enumerate((3, 5, text["context_length"] - 1)):
        ids[row, length], ids[row, length + 1 :] = text["vocab_size"] - 1, 0
    return images, ids


def features(model, images, ids):
    with torch.inference_mode():
        return model.encode_image(images), model.encode_text(ids)


def their_features(model, images, ids):
    with torch.inference_mode():
        return model.get_image_features(images).pooler_output, model.get_text_features(ids).pooler_output


def test_both_towers_answer_as_transformers_own_model(checkpoint):
    cfg, theirs, _, config = checkpoint
    loaded = load_model(config)
    for found, expected in zip(features(loaded.model, *inputs(cfg)), their_features(theirs, *inputs(cfg)), strict=True):
        assert expected.abs().max() > 0.1
        assert_close(found, expected, rtol=0, atol=1e-5)
    assert_close(loaded.model.logit_scale, theirs.logit_scale, rtol=0, atol=0)


def test_what_is_written_in_their_format_is_read_back_bit_for_bit(checkpoint):
    cfg, _, _, config = checkpoint
    loaded = load_model(config)
    state = loaded.model.state_dict()
    back = to_open_clip(to_transformers(state), "round trip")
    prefix = "text." if cfg.get("custom_text") else ""
    named = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    assert back.keys() == named.keys()
    assert all(back[name].numpy().tobytes() == named[name].numpy().tobytes() for name in named)


def test_transformers_own_model_loads_what_is_written_and_answers_the_same(tmp_path):
    from transformers import CLIPModel

    cfg = SHAPES["gelu"]
    model = tiny_model(cfg)
    save_file(to_transformers(model.state_dict()), tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(clip_config(cfg)))
    theirs, report = CLIPModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    found, expected = their_features(theirs.eval(), *inputs(cfg)), features(model, *inputs(cfg))
    assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_checkpoint_in_shards_is_the_same_model(checkpoint, tmp_path):
    cfg, theirs, _, config = checkpoint
    whole = load_model(config)
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    assert len(list((tmp_path / "shards").glob("model-*-of-*.safetensors"))) > 1
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    assert load_model(settings(tmp_path, cfg, "shards")).digest == whole.digest


def test_half_precision_is_the_same_model_as_its_float32_values(checkpoint, tmp_path):
    cfg, _, folder, _ = checkpoint
    (tmp_path / "half").mkdir()
    half = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(half, tmp_path / "half" / "model.safetensors")
    (tmp_path / "half" / "config.json").write_text((folder / "config.json").read_text())
    loaded = load_model(settings(tmp_path, cfg, "half"))
    assert loaded.digest == model_digest(
        tensor_digests({name: value.half() for name, value in loaded.model.state_dict().items()})
    )


def test_the_activation_of_the_checkpoint_replaces_the_architectures(checkpoint):
    cfg, _, _, config = checkpoint
    architecture = describe_architecture(config)
    assert architecture.model_cfg == {**cfg, "quick_gelu": bool(cfg.get("quick_gelu"))}
    Path(config.architecture).write_text(json.dumps({**cfg, "quick_gelu": not cfg.get("quick_gelu")}))
    assert describe_architecture(config) == architecture


def test_preprocessing_comes_from_the_folder_where_it_says_so(checkpoint):
    cfg, _, folder, config = checkpoint
    assert describe_architecture(config).preprocess_cfg == {}
    side = cfg["vision_cfg"]["image_size"]
    asked = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 2}
    asked |= {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(asked))
    described = describe_architecture(config)
    expected = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear", "resize_mode": "shortest"}
    assert described.preprocess_cfg == expected
    _, preprocess, _ = build_model(described)
    assert "Normalize(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])" in str(preprocess)
    # The form of older files.
    (folder / "preprocessor_config.json").write_text(json.dumps(asked | {"size": side, "crop_size": side}))
    assert describe_architecture(config).preprocess_cfg == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"size": 7}, "asks for size 7"),
        ({"size": {"shortest_edge": 64}, "crop_size": 32}, "the vision tower takes 32 by 32 pixels"),
        ({"do_center_crop": False, "size": {"shortest_edge": 32}}, "do_center_crop False"),
        ({"resample": 0}, "resample 0"),
        ({"do_rescale": False}, "do_rescale False"),
    ],
)
def test_preprocessing_that_open_clip_does_not_have_is_refused(tmp_path, change, expected):
    write_tiny_clip_model(tmp_path / "clip", SHAPES["quick gelu"])
    (tmp_path / "clip" / "preprocessor_config.json").write_text(json.dumps(change))
    with pytest.raises(SpecError, match=expected):
        describe_architecture(settings(tmp_path, SHAPES["quick gelu"]))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"embed_dim": 8}, "projection_dim is 24, the architecture's 8"),
        ({"vision_cfg": {"layers": 3}}, "vision_config.num_hidden_layers is 2, the architecture's 3"),
        ({"vision_cfg": {"patch_size": 16}}, "vision_config.patch_size is 8, the architecture's 16"),
        ({"vision_cfg": {"head_width": 8}}, "vision_config.num_attention_heads is 2, the architecture's 4"),
        ({"text_cfg": {"heads": 2}}, "text_config.num_attention_heads is 4, the architecture's 2"),
        ({"text_cfg": {"vocab_size": 65}}, "text_config.vocab_size is 64, the architecture's 65"),
        ({"text_cfg": {"norm_kwargs": {"eps": 1e-6}}}, "text_config.layer_norm_eps is 1e-05, the architecture's 1e-06"),
        ({"text_cfg": {"no_causal_mask": True}}, "it has text_cfg.no_causal_mask True"),
    ],
)
def test_sizes_that_are_not_the_architectures_are_refused_by_name(tmp_path, change, expected):
    cfg = SHAPES["quick gelu"]
    write_tiny_clip_model(tmp_path / "clip", cfg)
    changed = deepcopy(cfg)
    for name, value in change.items():
        changed[name] = {**cfg[name], **value} if isinstance(value, dict) else value
    with pytest.raises(SpecError, match=rf"^model\.weights .* do not fit the architecture: .*{expected}"):
        load_model(settings(tmp_path, changed))


def test_other_models_of_transformers_are_refused(tmp_path):
    cfg = SHAPES["quick gelu"]
    write_tiny_clip_model(tmp_path / "clip", cfg)
    config = settings(tmp_path, cfg)
    original = json.loads((tmp_path / "clip" / "config.json").read_text())
    text = original["text_config"]
    for change, expected in (
        ({"model_type": "siglip"}, "of model_type 'siglip', expected 'clip'"),
        ({"text_config": text | {"hidden_act": "gelu"}}, "hidden_act is 'gelu' in the text and 'quick_gelu'"),
        ({"text_config": text | {"eos_token_id": 5}}, "eos_token_id is 5, but open_clip's text tower pools at"),
    ):
        (tmp_path / "clip" / "config.json").write_text(json.dumps(original | change))
        with pytest.raises(SpecError, match=expected):
            load_model(config)


def test_a_config_that_leaves_out_transformers_defaults_is_read_with_them():
    from transformers import CLIPConfig

    cfg = open_clip.get_model_config("ViT-B-32")
    short = {"model_type": "clip", "text_config": {}, "vision_config": {}}
    assert fitted_architecture(cfg, short, "short") == {**cfg, "quick_gelu": True}
    full = CLIPConfig().to_dict()
    assert fitted_architecture(cfg, full, "full") == {**cfg, "quick_gelu": True}
    large = open_clip.get_model_config("ViT-L-14")
    legacy = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
    seen = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}
    old = {"model_type": "clip", "projection_dim": 768, "text_config_dict": legacy, "text_config": {"hidden_size": 1}}
    old |= {"vision_config": seen | {"patch_size": 14}}
    assert fitted_architecture(large, old, "old")["quick_gelu"]


def test_incomplete_or_foreign_folders_are_refused_with_what_is_missing(tmp_path):
    cfg = SHAPES["quick gelu"]
    write_tiny_clip_model(tmp_path / "clip", cfg)
    config, folder = settings(tmp_path, cfg), tmp_path / "clip"
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(SpecError, match=r"holds neither model.safetensors nor model.safetensors.index.json$"):
        load_model(config)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(SpecError, match=r"pytorch_model.bin is not read, save it as safetensors"):
        load_model(config)
    layer = "text_model.encoder.layers.0"
    for change, expected in (
        ({f"{layer}.self_attn.k_proj.bias": None}, r"attn.in_proj_bias's queries, keys and values only q, v are there"),
        ({f"{layer}.mlp.fc1.bias": None}, r"transformer.resblocks.0.mlp.c_fc.bias is missing"),
        ({"text_model.head.weight": torch.ones(2)}, r"text_model.head.weight and 0 more are none of a CLIPModel's"),
    ):
        changed = {name: tensor for name, tensor in (state | change).items() if tensor is not None}
        save_file(changed, folder / "model.safetensors")
        with pytest.raises(SpecError, match=expected):
            load_model(config)
    (folder / "config.json").rename(folder / "open_clip_config.json")
    with pytest.raises(SpecError, match=r"holds no config.json .* it is an open_clip folder, so name its"):
        load_model(config)


def test_an_index_must_name_files_beside_it_that_hold_what_it_promises(tmp_path):
    cfg = SHAPES["quick gelu"]
    write_tiny_clip_model(tmp_path / "clip", cfg)
    folder = tmp_path / "clip"
    names = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    for places, expected in (
        (dict.fromkeys(names, "../secret.safetensors"), r"must name safetensors files beside it, got \['\.\./secret"),
        (dict.fromkeys(names, "model.bin"), r"must name safetensors files beside it"),
        ({}, "must name safetensors files beside it"),
        (dict.fromkeys(names, "model-00002-of-00002.safetensors"), "does not exist"),
        (dict.fromkeys([*names, "more"], "model-00001-of-00001.safetensors"), "lacks more, which"),
    ):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
        with pytest.raises(SpecError, match=expected):
            read_checkpoint(folder)


@pytest.mark.parametrize("cfg", [TINY_SIGLIP, TINY_COCA], ids=["siglip", "coca"])
def test_models_that_clip_model_cannot_express_are_refused(cfg):
    with pytest.raises(SpecError, match="transformers' CLIPModel cannot express this model: it has "):
        clip_config(cfg)
    with pytest.raises(SpecError, match="transformers' CLIPModel has no place for tensor "):
        to_transformers(tiny_model(cfg).state_dict())


def test_a_folder_on_the_hub_that_is_out_of_reach_is_refused_at_once(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SpecError, match=r"^model.weights: cannot get hf-hub:nobody/clip: .*give a local folder"):
        load_model(ModelConfig(architecture="ViT-B-32", weights="hf-hub:nobody/clip"))


def test_a_plain_model_is_expressed_with_its_own_sizes():
    config = clip_config(TINY_CLIP)
    assert config["text_config"]["hidden_act"] == "gelu"
    assert (config["vision_config"]["image_size"], config["vision_config"]["num_attention_heads"]) == (32, 2)
    assert config["text_config"]["eos_token_id"] == 63
