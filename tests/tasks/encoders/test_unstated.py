import json
import warnings

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig
from tasks.encoders.architecture import describe_architecture
from tasks.encoders.loading import load_model
from tasks.encoders.unstated import with_what_a_file_leaves_open
from tasks.lineage.progress import Notices, listening
from tests.cases.models import TINY_CLIP, tiny_model, write_tiny_clip_model


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """`tiny` and `tiny-quickgelu` among open_clip's architectures, and a file of weights for them."""
    folder = tmp_path_factory.mktemp("named")
    for name, quick_gelu in (("tiny", {}), ("tiny-quickgelu", {"quick_gelu": True})):
        (folder / f"{name}.json").write_text(json.dumps({**TINY_CLIP, **quick_gelu}))
        open_clip.add_model_config(folder / f"{name}.json")
    save_file(tiny_model().state_dict(), folder / "weights.safetensors")
    yield folder
    for name in ("tiny", "tiny-quickgelu"):
        open_clip.factory._MODEL_CONFIG_PATHS.remove(folder / f"{name}.json")
        del open_clip.factory._MODEL_CONFIGS[name]


def loaded(architecture, weights, **settings):
    with listening(sink := Notices()):
        model = load_model(ModelConfig(architecture=architecture, weights=str(weights), **settings))
    return model, sink.texts


def uses_quick_gelu(model):
    kinds = {type(module).__name__ for module in model.model.modules()} & {"QuickGELU", "GELU"}
    assert len(kinds) == 1
    assert bool(model.architecture.model_cfg.get("quick_gelu")) == (kinds == {"QuickGELU"})
    return kinds == {"QuickGELU"}


def test_a_file_that_cannot_say_its_activation_is_run_as_the_architecture_says_with_one_notice(named):
    model, notices = loaded("tiny", named / "weights.safetensors")
    assert not uses_quick_gelu(model)
    assert len(notices) == 1
    assert "does not say its activation: GELU is used, as tiny says" in notices[0]
    assert "model.quick_gelu: true" in notices[0]


@pytest.mark.parametrize(
    ("architecture", "asked", "expected"),
    [("tiny", True, True), ("tiny", False, False), ("tiny-quickgelu", None, True), ("tiny-quickgelu", False, False)],
)
def test_a_setting_or_a_name_decides_the_activation_without_a_notice(named, architecture, asked, expected):
    model, notices = loaded(architecture, named / "weights.safetensors", quick_gelu=asked)
    assert uses_quick_gelu(model) == expected
    assert notices == []


def test_the_activation_asked_for_changes_what_the_model_computes_and_its_recipe(named):
    first, second = (loaded("tiny", named / "weights.safetensors", quick_gelu=asked)[0] for asked in (True, False))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(first.model.encode_image(images), second.model.encode_image(images), atol=1e-3)
    assert first.architecture != second.architecture
    assert (
        second.architecture.model_cfg == describe_architecture(ModelConfig(architecture="tiny", weights="w")).model_cfg
    )


@pytest.mark.slow
def test_what_a_file_says_of_its_activation_is_used_with_a_notice(named, tmp_path):
    state = tiny_model().state_dict()
    save_file(state, tmp_path / "said.safetensors", {"quick_gelu": "true"})
    torch.save({"name": "2024_01_01-model_tiny-quickgelu-lr_1e-05", "state_dict": state}, tmp_path / "said.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quick = tiny_model({**TINY_CLIP, "quick_gelu": True})
        inputs = torch.zeros(1, 3, 32, 32), torch.zeros(1, 16, dtype=torch.long)
        torch.jit.save(torch.jit.trace(quick, inputs, check_trace=False), tmp_path / "jit.pt")
    for name in ("said.safetensors", "said.pt", "jit.pt"):
        model, notices = loaded("tiny", tmp_path / name)
        assert uses_quick_gelu(model)
        assert len(notices) == 1
        assert "says that it uses QuickGELU" in notices[0]
        assert not uses_quick_gelu(loaded("tiny", tmp_path / name, quick_gelu=False)[0])


def test_a_config_of_the_same_model_beside_a_file_says_activation_and_preprocessing(named, tmp_path):
    save_file(tiny_model().state_dict(), tmp_path / "model.safetensors")
    described = {"model_cfg": {**TINY_CLIP, "quick_gelu": True}, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(described))
    model, notices = loaded("tiny", tmp_path / "model.safetensors")
    assert uses_quick_gelu(model)
    assert model.architecture.preprocess_cfg == {"mean": [0.5, 0.5, 0.5]}
    assert len(notices) == 1
    assert "activation and preprocessing are as in open_clip_config.json beside it" in notices[0]
    described["model_cfg"]["embed_dim"] = 17
    (tmp_path / "open_clip_config.json").write_text(json.dumps(described))
    assert not uses_quick_gelu(loaded("tiny", tmp_path / "model.safetensors")[0])


@pytest.mark.slow
def test_a_model_config_says_everything_itself_and_a_setting_must_not_say_otherwise(tmp_path):
    save_file(tiny_model().state_dict(), tmp_path / "w.safetensors")
    path = tmp_path / "model.json"
    for content, asked, expected in (
        (TINY_CLIP, None, False),
        (TINY_CLIP, True, True),
        ({**TINY_CLIP, "quick_gelu": True}, True, True),
        ({**TINY_CLIP, "quick_gelu": True}, False, None),
    ):
        path.write_text(json.dumps(content))
        if expected is None:
            with pytest.raises(SpecError, match=r"model\.quick_gelu is false, but .*model\.json says QuickGELU"):
                loaded(str(path), tmp_path / "w.safetensors", quick_gelu=asked)
        else:
            model, notices = loaded(str(path), tmp_path / "w.safetensors", quick_gelu=asked)
            assert (uses_quick_gelu(model), notices) == (expected, [])


@pytest.mark.parametrize(
    ("architecture", "weights", "expected"),
    [
        ("ViT-B-32", "openai", r"is false, but model\.weights openai says QuickGELU; remove the setting"),
        ("ViT-B-16-SigLIP", "w.pt", r"is false, but vision_cfg\.timm_model_name 'vit_base_patch16_siglip_224' has an"),
        ("roberta-ViT-B-32", "w.pt", r"is false, but text_cfg\.hf_model_name 'roberta-base' has an activation of its"),
    ],
)
def test_an_activation_is_refused_where_it_is_known_or_a_tower_has_its_own(architecture, weights, expected):
    with pytest.raises(SpecError, match=rf"^model\.quick_gelu {expected}"):
        load_model(ModelConfig(architecture=architecture, weights=weights, quick_gelu=False))


def test_a_transformers_folder_says_its_activation(named, tmp_path):
    write_tiny_clip_model(tmp_path / "clip", {**TINY_CLIP, "quick_gelu": True})
    model, notices = loaded("tiny", tmp_path / "clip")
    assert (uses_quick_gelu(model), notices) == (True, [])
    assert uses_quick_gelu(loaded("tiny", tmp_path / "clip", quick_gelu=True)[0])
    with pytest.raises(SpecError, match=r"model\.quick_gelu is false, but model\.weights .*clip says QuickGELU"):
        loaded("tiny", tmp_path / "clip", quick_gelu=False)


@pytest.mark.slow
def test_float64_weights_are_rounded_with_a_notice_and_half_precision_needs_none(named, tmp_path):
    for dtype, expected in ((torch.float64, 1), (torch.float16, 0), (torch.bfloat16, 0)):
        state = {name: value.to(dtype) for name, value in tiny_model().state_dict().items()}
        save_file(state, tmp_path / "w.safetensors")
        notices = loaded("tiny-quickgelu", tmp_path / "w.safetensors")[1]
        assert ["float64 and rounded to float32" in text for text in notices] == [True] * expected


@pytest.mark.parametrize(
    ("name", "mean", "expected"),
    [
        ("ViT-B-16-SigLIP", [0.5, 0.5, 0.5], ["how images are prepared: as for ViT-B-16-SigLIP's published weights"]),
        ("ViT-L-14-336-quickgelu", None, []),
        ("ViT-H-14-quickgelu", None, ["open_clip's default, mean [0.481, 0.458, 0.408]; dfn5b of ViT-H-14-quickgelu"]),
    ],
)
def test_images_are_prepared_as_all_published_weights_ask_or_as_usual_with_a_notice(tmp_path, name, mean, expected):
    config = ModelConfig(architecture=name, weights=str(tmp_path / "w.pt"))
    with listening(sink := Notices()):
        found = with_what_a_file_leaves_open(describe_architecture(config), config, tmp_path / "w.pt", None)
    assert found.preprocess_cfg.get("mean") == mean
    assert len(sink.texts) == len(expected)
    assert all(text in notice for text, notice in zip(expected, sink.texts, strict=True))


@pytest.mark.parametrize("value", ["yes", 1, "true"])
def test_the_setting_is_true_false_or_null_only(value):
    with pytest.raises(ValueError, match="quick_gelu"):
        ModelConfig(architecture="ViT-B-32", weights="openai", quick_gelu=value)
