"""An edit of a SigLIP in a LLaVA around it."""

import json

import torch
from safetensors.torch import load_file, save_file

from tasks.encoders.checkpoint import model_digest, tensor_digests
from tasks.encoders.llava.folder import open_llava
from tasks.encoders.llava.names import as_in_tower
from tasks.manipulation.edit import Edit, apply_edit, positions
from tasks.manipulation.llava.edited_folder import write_edited_llava
from tests.cases.models import TINY_SIGLIP, tiny_model

LAYERS = ("visual.trunk.blocks.0.attn.proj", "visual.trunk.blocks.5.mlp.fc2")


def test_the_tower_has_the_weights_of_the_edited_siglip(tmp_path):
    base = tiny_model(TINY_SIGLIP).state_dict()
    names = {name: f"vision_tower.vision_model.{name}" for name in as_in_tower(base)}
    folder = tmp_path / "llava"
    folder.mkdir()
    tower = {names[name]: value.contiguous().half() for name, value in as_in_tower(base).items()}
    save_file(tower | {"language_model.x": torch.ones(3)}, folder / "model.safetensors")
    config = {"model_type": "llava_onevision", "vision_config": {"model_type": "siglip_vision_model"}}
    (folder / "config.json").write_text(json.dumps(config))

    layers = {name: positions(torch.arange(0, 4000, 9), base[f"{name}.weight"], "vision") for name in LAYERS}
    settings = ({"vision": value} for value in (-1.0, "score_mass", 0.98))
    edit = Edit(model_digest(tensor_digests(base)), layers, *settings)
    (tmp_path / "out").mkdir()
    done = write_edited_llava(edit, open_llava(folder, "MODEL"), tmp_path / "out", base=base)
    assert done.without_effect == []  # LLaVA-OneVision reads the last hidden state
    expected = as_in_tower(apply_edit(edit, base))
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(found[names[name]], value.half()) for name, value in expected.items())
