import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data_specs.errors import ArtifactError, SpecError
from tasks.encoders.checkpoint import encoder_digest, model_digest, read_state_dict, tensor_digests, write_state_dict
from tasks.manipulation.edit import Edit, apply_edit, positions, undo_edit
from tasks.manipulation.edit_file import read_edit, write_edit
from tests.cases.edits import ENCODER, TEXT, VISION, bits, random_edit, random_state


def test_an_edit_multiplies_the_selected_weights_and_no_others():
    state = random_state()
    edit = random_edit(state, 0.25)
    edited = apply_edit(edit, state)
    assert list(edited) == list(state)
    for name, before in state.items():
        expected = before.clone()
        layer = name.removesuffix(".weight")
        if layer in edit.layers and name.endswith(".weight"):
            for position in edit.layers[layer].index.tolist():
                row, column = divmod(position, before.shape[1])
                expected[row, column] = 0.25 * before[row, column]
        assert torch.equal(edited[name], expected)


def test_each_encoder_has_its_own_alpha():
    state = random_state()
    edit = random_edit(state, 0.0)
    edit.alpha["vision"] = 2.0
    edited = apply_edit(edit, state)
    text, vision = (edit.layers[layer].index for layer in (TEXT, VISION))
    assert torch.equal(edited[f"{TEXT}.weight"].view(-1)[text].abs(), torch.zeros(len(text)))
    before = state[f"{VISION}.weight"].view(-1)[vision]
    assert torch.equal(edited[f"{VISION}.weight"].view(-1)[vision], 2 * before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_alpha_one_leaves_every_byte_of_the_checkpoint(tmp_path, dtype):
    state = random_state(dtype=dtype)
    write_state_dict(state, tmp_path / "before.safetensors", {"format": "pt"})
    edited = apply_edit(random_edit(state, 1.0), state)
    write_state_dict(edited, tmp_path / "after.safetensors", {"format": "pt"})
    assert (tmp_path / "after.safetensors").read_bytes() == (tmp_path / "before.safetensors").read_bytes()


def test_alpha_minus_one_twice_restores_every_bit():
    state = random_state()
    edit = random_edit(state, -1.0)
    once = apply_edit(edit, state)
    assert bits(once) != bits(state)
    layers = {
        layer: positions(change.index, once[f"{layer}.weight"], change.encoder) for layer, change in edit.layers.items()
    }
    again = Edit(model_digest(tensor_digests(once)), layers, edit.alpha, edit.rule, edit.tau)
    assert bits(apply_edit(again, once)) == bits(state)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-10, 10),
    st.integers(0, 2**31),
    st.sampled_from([torch.float32, torch.float16]),
)
def test_undoing_restores_every_bit_whatever_alpha_was(alpha, seed, dtype):
    state = random_state(seed, dtype)
    edit = random_edit(state, alpha, seed=seed)
    assert bits({"w": undo_edit(edit, apply_edit(edit, state))[f"{TEXT}.weight"].float()}) == bits(
        {"w": state[f"{TEXT}.weight"].float()}
    )
    assert bits(undo_edit(edit, apply_edit(edit, state))) == bits(state)


@pytest.mark.parametrize("alpha", [0.0, -1.0])
def test_undoing_restores_negative_zero(alpha):
    state = random_state()
    edit = random_edit(state, alpha)
    restored = undo_edit(edit, apply_edit(edit, state))
    assert torch.signbit(restored[f"{TEXT}.weight"].view(-1)[:4]).tolist() == [False, True, False, True]
    assert bits(restored) == bits(state)


def test_the_state_dict_given_stays_as_it_is():
    state = random_state()
    before = bits(state)
    edit = random_edit(state, -1.0)
    edited = apply_edit(edit, state)
    after = bits(edited)
    undo_edit(edit, edited)
    assert bits(state) == before
    assert bits(edited) == after


def test_another_model_is_refused_with_both_digests_and_exit_status_four():
    state, other = random_state(), random_state(seed=7)
    edit = random_edit(state, -1.0)
    expected = f"the edit is for the model with digest {edit.base_model[:12]}, got one with"
    with pytest.raises(ArtifactError, match=expected) as caught:
        apply_edit(edit, other)
    assert caught.value.exit_code == 4
    with pytest.raises(ArtifactError, match=r"undoing the edit gives a model with digest \w{12}, expected"):
        undo_edit(edit, other)


def test_applying_an_edit_twice_is_refused():
    state = random_state()
    edit = random_edit(state, -1.0)
    with pytest.raises(ArtifactError, match="apply it to the unedited model that it was made for"):
        apply_edit(edit, apply_edit(edit, state))


@pytest.mark.parametrize("change", ["one bit", "a missing tensor", "one tensor more", "another shape", "another name"])
def test_any_change_of_a_tensor_makes_it_another_model(change):
    state = random_state()
    edit = random_edit(state, -1.0)
    if change == "one bit":
        state["logit_scale"] = torch.nextafter(state["logit_scale"], torch.tensor(10.0))
    elif change == "a missing tensor":
        del state["logit_scale"]
    elif change == "one tensor more":
        state["more"] = torch.zeros(1)
    elif change == "another shape":
        state["logit_scale"] = state["logit_scale"].reshape(1)
    else:
        state["scale"] = state.pop("logit_scale")
    with pytest.raises(ArtifactError, match="the edit is for the model with digest"):
        apply_edit(edit, state)


def test_undoing_on_a_model_without_the_layer_is_refused_by_its_name():
    state = random_state()
    edit = random_edit(state, -1.0)
    del state[f"{VISION}.weight"]
    with pytest.raises(ArtifactError, match=f"the edit changes layer {VISION}, which the model does not have"):
        undo_edit(edit, state)


def test_an_edit_file_brings_back_the_same_edit_and_the_same_bytes(tmp_path):
    edit = random_edit(random_state(), -1.0)
    edit.tau["vision"] = 0.9
    for name in ("first", "second"):
        write_edit(edit, tmp_path / f"{name}.safetensors")
    assert (tmp_path / "first.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()
    found = read_edit(tmp_path / "first.safetensors")
    assert (found.base_model, found.alpha, found.rule, found.tau) == (edit.base_model, edit.alpha, edit.rule, edit.tau)
    assert found.layers.keys() == edit.layers.keys()
    for layer, change in edit.layers.items():
        assert found.layers[layer].encoder == change.encoder
        assert torch.equal(found.layers[layer].index, change.index)
        assert bits({"w": found.layers[layer].original}) == bits({"w": change.original})


def test_an_edit_file_holds_ascending_positions_and_says_what_it_is_for(tmp_path):
    edit = random_edit(random_state(), -1.0)
    write_edit(edit, tmp_path / "edit.safetensors")
    with safe_open(tmp_path / "edit.safetensors", framework="pt") as file:
        metadata = file.metadata()
        names = sorted(file.keys())
    assert names == sorted(f"{layer}.{part}" for layer in ENCODER for part in ("index", "original"))
    assert metadata["base_model_digest"] == edit.base_model
    assert json.loads(metadata["alpha"]) == {"text": -1.0, "vision": -1.0}
    assert json.loads(metadata["rule"]) == {"text": "score_mass", "vision": "score_mass"}
    assert json.loads(metadata["tau"]) == {"text": 0.98, "vision": 0.98}
    for layer in ENCODER:
        index = load_file(tmp_path / "edit.safetensors")[f"{layer}.index"]
        assert index.dtype == torch.int64
        assert bool((index[1:] > index[:-1]).all())


def test_a_checkpoint_in_half_precision_is_the_same_model_and_can_be_edited(tmp_path):
    half = random_state(dtype=torch.float16)
    loaded = {name: value.float() for name, value in half.items()}
    edit = random_edit(loaded, -1.0)
    save_file(half, tmp_path / "half.safetensors")
    checkpoint = read_state_dict(tmp_path / "half.safetensors")
    edited = apply_edit(edit, checkpoint)
    assert {value.dtype for value in edited.values()} == {torch.float16}
    expected = apply_edit(edit, loaded)
    assert bits(edited) == bits({name: value.half() for name, value in expected.items()})
    assert bits(undo_edit(edit, edited)) == bits(half)


def test_an_empty_edit_changes_nothing():
    state = random_state()
    edit = random_edit(state, -1.0)
    nothing = {layer: positions([], state[f"{layer}.weight"], encoder) for layer, encoder in ENCODER.items()}
    empty = Edit(edit.base_model, nothing, edit.alpha, edit.rule, edit.tau)
    assert bits(apply_edit(empty, state)) == bits(state)


def test_files_that_are_no_edit_are_refused(tmp_path):
    with pytest.raises(SpecError, match=r"edit file .*missing\.safetensors does not exist"):
        read_edit(tmp_path / "missing.safetensors")
    (tmp_path / "garbage.safetensors").write_bytes(b"garbage")
    save_file(random_state(), tmp_path / "model.safetensors")
    for name in ("garbage", "model"):
        with pytest.raises(SpecError, match=rf"{name}\.safetensors is not an edit file, expected edit\.safetensors"):
            read_edit(tmp_path / f"{name}.safetensors")


def test_an_encoders_digest_ignores_the_other_encoder():
    state = random_state()
    edited = dict(state)
    edited[f"{TEXT}.weight"] = state[f"{TEXT}.weight"] + 1
    before, after = (tensor_digests(item) for item in (state, edited))
    assert encoder_digest(before, "vision") == encoder_digest(after, "vision")
    assert encoder_digest(before, "text") != encoder_digest(after, "text")
    assert model_digest(before) != model_digest(after)


def test_metadata_of_a_checkpoint_is_written_in_one_order_and_read_back_as_it_was(tmp_path):
    state = random_state()
    metadata = {name: f'{name} "quoted" \\ é \u2028 \x01\n\t' for name in ("b", "a", "ü", "d", "c", "e e")}
    contents = set()
    for attempt in range(8):
        write_state_dict(state, tmp_path / f"{attempt}.safetensors", metadata)
        contents.add((tmp_path / f"{attempt}.safetensors").read_bytes())
    assert len(contents) == 1
    with safe_open(tmp_path / "0.safetensors", framework="pt") as file:
        assert file.metadata() == metadata
    assert bits(load_file(tmp_path / "0.safetensors")) == bits(dict(sorted(state.items())))
