"""An edit of a CLIP on the tower of a LLaVA in memory: what it changes, and that nothing of it stays."""

import pytest
import torch

from data_specs.errors import ArtifactError, SpecError
from tasks.encoders.checkpoint import model_digest, tensor_digests
from tasks.manipulation.edit import Edit, positions
from tasks.manipulation.tower_in_place import tower_edited_in_place
from tests.cases.models import tiny_model
from tests.cases.tiny_llava import tiny_llava, tower_state

LAYERS = {
    "visual.transformer.resblocks.0.mlp.c_proj": "mlp.fc2",
    "visual.transformer.resblocks.0.attn.out_proj": "self_attn.out_proj",
}


@pytest.fixture(scope="module")
def clip():
    return tiny_model().state_dict()


def edit_of(state, layers=LAYERS, alpha=-1.0):
    own = {
        layer: positions(torch.arange(3, 300, 7), state[f"{layer}.weight"], "vision" if "visual" in layer else "text")
        for layer in layers
    }
    sides = dict.fromkeys({change.encoder for change in own.values()}, 0)
    return Edit(
        model_digest(tensor_digests(state)),
        own,
        dict.fromkeys(sides, alpha),
        dict.fromkeys(sides, "score_mass"),
        dict.fromkeys(sides, 0.9),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_selected_weights_are_negated_inside_and_as_they_were_afterwards(clip, dtype):
    clip = {name: value.to(dtype).float() for name, value in clip.items()}
    model = tiny_llava(clip).to(dtype)
    before = {name: value.clone() for name, value in tower_state(model).items()}
    edit = edit_of(clip)
    with tower_edited_in_place(model.model.vision_tower, edit):
        inside = {name: value.clone() for name, value in tower_state(model).items()}
    changed = {name for name, value in inside.items() if not torch.equal(value, before[name])}
    assert changed == {f"vision_model.encoder.layers.0.{name}.weight" for name in LAYERS.values()}
    for layer, name in LAYERS.items():
        index, key = edit.layers[layer].index, f"vision_model.encoder.layers.0.{name}.weight"
        expected = before[key].clone()
        expected.view(-1)[index] *= -1
        assert torch.equal(inside[key], expected)
    after = tower_state(model)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_another_tower_and_an_edit_of_texts_alone_are_refused_and_change_nothing(clip):
    model = tiny_llava(tiny_model(seed=5).state_dict())
    before = {name: value.clone() for name, value in tower_state(model).items()}
    tower = model.model.vision_tower
    refusals = (
        (edit_of(clip), ArtifactError, "is not the CLIP that the edit is of, or captioning.precision rounds it"),
        (edit_of(clip, ["transformer.resblocks.0.mlp.c_proj"]), SpecError, "changes no weight of a vision encoder"),
        (edit_of({"visual.trunk.fc.weight": torch.ones(32, 32)}, ["visual.trunk.fc"]), ArtifactError, "does not have"),
    )
    for edit, error, said in refusals:
        with pytest.raises(error, match=said), tower_edited_in_place(tower, edit):
            pass
    after = tower_state(model)
    assert all(torch.equal(after[name], value) for name, value in before.items())
