"""An edit on a model in memory, against the same edit on a checkpoint."""

import pytest
import torch

from data_specs.errors import ArtifactError
from tasks.encoders.checkpoint import model_digest, tensor_digests
from tasks.encoders.loading import load_model
from tasks.manipulation.edit import Edit, apply_edit, positions
from tasks.manipulation.in_place import edited_in_place
from tests.cases.models import write_tiny_model

LAYERS = {
    "transformer.resblocks.0.attn.out_proj": "text",
    "visual.transformer.resblocks.1.mlp.c_proj": "vision",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_model(write_tiny_model(tmp_path_factory.mktemp("model")))


def edit_of(loaded, alpha):
    layers = {}
    for seed, (layer, encoder) in enumerate(LAYERS.items()):
        weight = loaded.model.get_parameter(f"{layer}.weight")
        index = torch.randperm(weight.numel(), generator=torch.Generator().manual_seed(seed))[:50].sort().values
        layers[layer] = positions(index, weight, encoder)
    by_encoder = dict.fromkeys(("text", "vision"), alpha)
    return Edit(
        loaded.digest, layers, by_encoder, dict.fromkeys(by_encoder, "top_share"), dict.fromkeys(by_encoder, 0.9)
    )


def bits(model):
    return {name: value.detach().numpy().tobytes() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("alpha", [-1, 0, 0.3])
def test_inside_it_is_the_edited_checkpoint_and_afterwards_the_original_to_the_bit(loaded, alpha):
    before, edit = bits(loaded.model), edit_of(loaded, alpha)
    expected = apply_edit(edit, loaded.model.state_dict())
    with edited_in_place(loaded, edit) as edited:
        assert bits(edited.model) == {name: value.numpy().tobytes() for name, value in expected.items()}
        assert edited.digests == tensor_digests(expected)
        assert edited.digest == model_digest(tensor_digests(expected)) != loaded.digest
    assert bits(loaded.model) == before
    assert loaded.digests == tensor_digests(loaded.model.state_dict())


def test_an_encoder_without_edits_keeps_its_digest(loaded):
    edit = edit_of(loaded, -1)
    text_only = {layer: change for layer, change in edit.layers.items() if change.encoder == "text"}
    with edited_in_place(loaded, Edit(edit.base_model, text_only, edit.alpha, edit.rule, edit.tau)) as edited:
        assert edited.encoder_digest("vision") == loaded.encoder_digest("vision")
        assert edited.encoder_digest("text") != loaded.encoder_digest("text")


def test_the_original_comes_back_when_the_measurement_fails(loaded):
    before = bits(loaded.model)
    with pytest.raises(RuntimeError, match="no more room"), edited_in_place(loaded, edit_of(loaded, -1)):
        raise RuntimeError("no more room")
    assert bits(loaded.model) == before


def test_an_edit_for_another_model_is_refused_and_nothing_changes(loaded, tmp_path):
    other = load_model(write_tiny_model(tmp_path, seed=5))
    before = bits(other.model)
    with (
        pytest.raises(ArtifactError, match=r"the edit is for the model with digest .*, got one with"),
        edited_in_place(other, edit_of(loaded, -1)),
    ):
        pass
    assert bits(other.model) == before


def test_a_model_whose_weights_are_not_what_its_digest_says_is_refused(loaded):
    edit = edit_of(loaded, -1)
    with edited_in_place(loaded, edit):
        before = bits(loaded.model)
        # `loaded` still carries the base model's digest, but holds the edited one.
        with pytest.raises(ArtifactError, match="values differ"), edited_in_place(loaded, edit):
            pass
        assert bits(loaded.model) == before


def test_a_weight_that_is_not_contiguous_is_edited_and_restored(loaded):
    layer, before, edit = next(iter(LAYERS)), bits(loaded.model), edit_of(loaded, -1)
    weight = loaded.model.get_parameter(f"{layer}.weight")
    weight.data = weight.data.T.contiguous().T
    with edited_in_place(loaded, edit) as edited:
        assert edited.digests == tensor_digests(loaded.model.state_dict()) != loaded.digests
    weight.data = weight.data.contiguous()
    assert bits(loaded.model) == before
