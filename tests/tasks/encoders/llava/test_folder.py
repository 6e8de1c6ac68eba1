"""What is found in the folder of a LLaVA, and which folders are refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_specs.errors import SpecError
from tasks.encoders.llava.folder import is_llava, locate_llava, open_llava
from tests.cases.models import write_tiny_clip_model
from tests.cases.tiny_llava import INDEX, TOWER_NAMES, rename_tower, tiny_llava, tower_state, write_tiny_llava


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_tiny_llava(tmp_path_factory.mktemp("llava") / "llava")


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "llava")


def change(path, **settings):
    content = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


@pytest.mark.parametrize("names", TOWER_NAMES)
def test_the_tower_is_found_under_the_names_of_every_version(folder, names):
    rename_tower(folder, TOWER_NAMES[names])
    found = open_llava(folder, "MODEL")
    expected = {name.removeprefix("vision_model."): value for name, value in tower_state(tiny_llava()).items()}
    assert found.tower.keys() == expected.keys()
    assert all(torch.equal(found.tower[name].read(), value) for name, value in expected.items())
    assert (found.n_blocks, found.n_seen) == (2, 1)
    assert set(found.weight_files) == {path.name for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("layer", [-2, -1, -3, [0, 1]])
def test_the_blocks_that_are_seen_are_those_that_change_what_the_language_model_gets(folder, layer):
    model, picture = tiny_llava(vision_feature_layer=layer), torch.randn(1, 3, 32, 32)
    change(folder / "config.json", vision_feature_layer=layer)

    def features():
        with torch.no_grad():
            tower = model.model.vision_tower(picture, output_hidden_states=True).hidden_states
            chosen = [layer] if isinstance(layer, int) else layer
            return torch.cat([tower[i] for i in chosen], dim=-1)

    before, seen = features(), []
    for block in range(2):
        weight = model.model.vision_tower.encoder.layers[block].mlp.fc2.weight.data
        weight.neg_()
        seen.append(not torch.equal(features(), before))
        weight.neg_()
    found = open_llava(folder, "MODEL")
    assert [block < found.n_seen for block in range(2)] == seen


def test_what_the_settings_leave_out_is_as_transformers_takes_it(folder):
    change(folder / "config.json", vision_feature_layer=None, vision_config=None)
    assert open_llava(folder, "MODEL").n_seen == 1
    change(folder / "config.json", model_type="llava_onevision")
    assert open_llava(folder, "MODEL").n_seen == 2


def test_llavas_own_format_names_its_layer_otherwise(folder):
    rename_tower(folder, TOWER_NAMES["LLaVA"])
    for layer, seen in ((None, 1), (-1, 2), (-3, 0)):
        change(folder / "config.json", mm_vision_tower="x", mm_vision_select_layer=layer, vision_feature_layer=1)
        assert open_llava(folder, "MODEL").n_seen == seen


REFUSED = {
    "another model": ({"model_type": "qwen2_vl"}, r"of model_type 'qwen2_vl', expected llava, llava_next, "),
    "another tower": ({"vision_config": {"model_type": "pixtral"}}, "its vision tower is a 'pixtral', expected clip_"),
    "a layer past the end": ({"vision_feature_layer": -4}, "vision_feature_layer is -4, but its tower has 2 blocks"),
    "a layer that is none": ({"vision_feature_layer": "full"}, "vision_feature_layer is 'full'"),
    "code of its own": ({"auto_map": {"AutoModel": "x.Y"}}, "has auto_map, which would run code"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_of_other_models_are_refused(folder, case):
    settings, told = REFUSED[case]
    change(folder / "config.json", **settings)
    with pytest.raises(SpecError, match=told):
        open_llava(folder, "MODEL")


def test_a_checkpoint_without_its_tower_says_which_clip_to_edit(folder):
    for path in folder.glob("*.safetensors"):
        save_file({name: value for name, value in load_file(path).items() if "vision_tower" not in name}, path)
    places = json.loads((folder / INDEX).read_text())["weight_map"]
    change(folder / INDEX, weight_map={name: file for name, file in places.items() if "vision_tower" not in name})
    with pytest.raises(SpecError, match="has no tensor vision_tower"):
        open_llava(folder, "MODEL")
    change(folder / "config.json", mm_vision_tower="openai/clip-vit-large-patch14-336")
    with pytest.raises(SpecError, match=r"outside \(mm_vision_tower: 'openai/clip-vit.*or take .*llava-hf/llava-1.5"):
        open_llava(folder, "MODEL")


def test_incomplete_checkpoints_are_refused_by_the_file(folder):
    first, second, *_ = sorted(folder.glob("*.safetensors"))
    content = first.read_bytes()
    for data, told in ((content[:-1], "is damaged"), (b"version https://git-lfs.github.com", "a Git LFS pointer")):
        first.write_bytes(data)
        with pytest.raises(SpecError, match=rf"MODEL: .*{first.name} is {told.removeprefix('is ')}"):
            open_llava(folder, "MODEL")
    first.write_bytes(second.read_bytes())
    with pytest.raises(SpecError, match=rf"{first.name} lacks .*, which {INDEX} promises"):
        open_llava(folder, "MODEL")
    first.unlink()
    with pytest.raises(SpecError, match=rf"{first.name} cannot be read: .*No such file"):
        open_llava(folder, "MODEL")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(SpecError, match=r"must name safetensors files beside it, got '\.\./other"):
        open_llava(folder, "MODEL")
    (folder / INDEX).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(SpecError, match=r"holds neither .* nor .*; pytorch_model.bin is not read, save it as safetens"):
        open_llava(folder, "MODEL")


def test_a_tower_under_two_names_is_refused(folder):
    state = {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}
    twice = {name.replace("vision_model.", ""): value.clone() for name, value in state.items()}
    save_file(state | twice, folder / "model.safetensors")
    with pytest.raises(SpecError, match=r"holds the tower's .* under two names"):
        open_llava(folder, "MODEL")


def test_models_that_write_no_text_are_none(folder, tmp_path):
    write_tiny_clip_model(tmp_path / "clip")
    assert [is_llava(place) for place in (folder, tmp_path / "clip", tmp_path)] == [True, False, False]
    with pytest.raises(SpecError, match=r"--model .*holds no config.json of a LLaVA; give a folder"):
        locate_llava(str(tmp_path / "nowhere"), "--model")
