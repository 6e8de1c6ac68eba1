"""A LLaVA's tower as a model: what transformers computes, under open_clip's names, in one digest for all that hold it."""

import json
import shutil

import pytest
import torch

from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig
from tasks.encoders.layers import target_layers
from tasks.encoders.llava.tower import load_tower
from tasks.encoders.loading import load_model
from tests.cases.models import TINY_CLIP, tiny_model
from tests.cases.tiny_llava import TOWER_NAMES, rename_tower, tiny_llava, write_tiny_llava


@pytest.fixture(scope="module")
def clip():
    return {name: value.half().float() for name, value in tiny_model().state_dict().items()}


@pytest.fixture(scope="module")
def written(clip, tmp_path_factory):
    return write_tiny_llava(tmp_path_factory.mktemp("llava") / "llava", clip)


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "llava")


def change(folder, **settings):
    content = json.loads((folder / "config.json").read_text())
    content["vision_config"] |= settings.pop("vision_config", {})
    (folder / "config.json").write_text(json.dumps(content | settings))


@pytest.mark.parametrize(("layer", "seen"), [(-2, 1), (-1, 2)])
def test_each_layers_input_is_that_of_transformers(clip, folder, layer, seen):
    theirs = tiny_llava(clip, vision_feature_layer=layer).model.vision_tower
    change(folder, vision_feature_layer=layer)
    loaded, inputs = load_tower(str(folder)), {}
    pictures = torch.randn(3, 3, 32, 32)

    def keep(name):
        return lambda _module, given: inputs.__setitem__(name, given[0])

    layers = target_layers(loaded.model, "vision", "mlp_output")
    assert [*layers] == [f"visual.transformer.resblocks.{block}.mlp.c_proj" for block in range(seen)]
    for block, ours in enumerate(layers.values()):
        ours.register_forward_pre_hook(keep(f"ours {block}"))
        theirs.encoder.layers[block].mlp.fc2.register_forward_pre_hook(keep(f"theirs {block}"))
    with torch.no_grad():
        loaded.model.encode_image(pictures)
        theirs(pictures)
    for block in range(seen):
        torch.testing.assert_close(inputs[f"ours {block}"], inputs[f"theirs {block}"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_all_that_hold_one_tower_are_one_model(clip, folder, tmp_path):
    digests = {load_tower(str(folder)).digest}
    rename_tower(folder, TOWER_NAMES["transformers 4, in memory"])
    digests.add(load_tower(str(folder)).digest)
    one = write_tiny_llava(
        tmp_path / "one", clip, dtype=torch.float16, shard_size="9MB", names="transformers 5", seed=7
    )
    digests.add(load_tower(str(one)).digest)
    assert len(digests) == 1
    other = write_tiny_llava(tmp_path / "other", seed=1)
    assert load_tower(str(other)).digest not in digests


def test_it_is_a_vision_encoder_and_nothing_else_of_the_clip(clip, folder):
    loaded = load_model(ModelConfig.model_validate({"llava": str(folder)}))
    state = loaded.model.state_dict()
    unused = ("visual.proj", "visual.ln_post.weight", "visual.ln_post.bias")
    names = {name for name in clip if name.startswith("visual.") and name not in unused and ".resblocks.1." not in name}
    assert state.keys() == names
    assert all(torch.equal(state[name], clip[name]) for name in names)
    assert loaded.architecture.model_cfg["vision_cfg"]["image_size"] == TINY_CLIP["vision_cfg"]["image_size"]
    with loaded.files.opened() as again:
        assert again.digest == loaded.digest


def test_activation_and_pictures_are_as_the_checkpoint_says(folder):
    assert load_tower(str(folder)).architecture.model_cfg["quick_gelu"] is False
    change(folder, vision_config={"hidden_act": "quick_gelu", "layer_norm_eps": 1e-3})
    processor = json.loads((folder / "processor_config.json").read_text())
    processor["image_processor"] |= {"image_mean": [0.1, 0.2, 0.3], "image_std": [1.0, 1.0, 1.0]}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    loaded = load_tower(str(folder))
    assert loaded.architecture.model_cfg["quick_gelu"] is True
    assert loaded.model.visual.ln_pre.eps == 1e-3
    assert loaded.architecture.preprocess_cfg["mean"] == [0.1, 0.2, 0.3]


REFUSED = {
    "siglip": (
        {"model_type": "siglip_vision_model"},
        "its tower is a 'siglip_vision_model'; scores are taken of CLIP's",
    ),
    "an unknown activation": ({"hidden_act": "silu"}, "hidden_act 'silu' and 2 heads for a width of 32"),
    "heads that do not divide": ({"num_attention_heads": 5}, "and 5 heads for a width of 32"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_tower_that_is_no_clips_is_refused(folder, case):
    settings, told = REFUSED[case]
    change(folder, vision_config=settings)
    with pytest.raises(SpecError, match=told):
        load_tower(str(folder))
