import json

import open_clip
import pytest

from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig
from tasks.encoders.architecture import Architecture, build_model, describe_architecture
from tests.support import TINY_CLIP


@pytest.mark.parametrize(
    ("name", "tag", "quick_gelu"),
    [
        ("ViT-B-32", "openai", True),
        ("ViT-B-32", "laion2b_s34b_b79k", False),
        ("ViT-B-32", "laion400m_e32", True),
        ("ViT-B-32-quickgelu", "openai", True),
        ("ViT-L-14", "openai", True),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k", False),
        ("ViT-B-32", "some/file.safetensors", False),
        ("ViT-B-32-quickgelu", "some/file.safetensors", True),
    ],
)
def test_the_activation_is_the_one_the_weights_were_trained_with(name, tag, quick_gelu):
    before = json.dumps(open_clip.get_model_config(name), sort_keys=True)
    architecture = describe_architecture(ModelConfig(architecture=name, weights=tag))
    assert bool(architecture.model_cfg.get("quick_gelu", False)) == quick_gelu
    assert architecture.tokenizer_name == name
    assert json.dumps(open_clip.get_model_config(name), sort_keys=True) == before


def test_preprocessing_is_the_one_published_with_the_weights():
    openai = describe_architecture(ModelConfig(architecture="ViT-B-32", weights="openai"))
    assert openai.preprocess_cfg["mean"] == list(open_clip.OPENAI_DATASET_MEAN)
    siglip = describe_architecture(ModelConfig(architecture="ViT-B-16-SigLIP", weights="webli"))
    assert siglip.preprocess_cfg["mean"] == [0.5, 0.5, 0.5]
    json.loads(siglip.config_json())


def test_a_config_file_builds_what_it_describes_bare_or_with_preprocessing(tmp_path):
    path = tmp_path / "model.json"
    preprocessing = {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}
    for content, expected in (
        (TINY_CLIP, {}),
        ({"model_cfg": TINY_CLIP, "preprocess_cfg": preprocessing}, preprocessing),
    ):
        path.write_text(json.dumps(content))
        architecture = describe_architecture(ModelConfig(architecture=str(path), weights="w.pt"))
        assert (architecture.model_cfg, architecture.preprocess_cfg) == (TINY_CLIP, expected)
        path.write_text(architecture.config_json())
        assert describe_architecture(ModelConfig(architecture=str(path), weights="w.pt")) == architecture


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot read"),
        (b"{", "cannot read"),
        (b"\xff", "cannot read"),
        (b"[1]", "holds list, expected a JSON object"),
        (b'{"embed_dim": 3}', "is no open_clip model config, it lacks text_cfg, vision_cfg"),
    ],
)
def test_a_file_that_is_no_model_config_is_refused(tmp_path, content, expected):
    path = tmp_path / "model.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=rf"model\.architecture: .*{expected}"):
        describe_architecture(ModelConfig(architecture=str(path), weights="w.pt"))


def test_an_unknown_architecture_is_refused_with_similar_names():
    with pytest.raises(
        SpecError, match=r"model\.architecture 'ViT-B-33' is no open_clip model.*similar names are ViT-B-1"
    ):
        describe_architecture(ModelConfig(architecture="ViT-B-33", weights="openai"))


def test_a_config_that_open_clip_cannot_build_is_refused_in_one_line():
    broken = {**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], "heads": 5}}
    with pytest.raises(SpecError, match=r"^model\.architecture: open_clip cannot build it: .+$") as caught:
        build_model(Architecture(broken, {}, None))
    assert "\n" not in str(caught.value)
