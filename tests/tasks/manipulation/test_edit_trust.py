"""An edit is applied only if it says of the model what is true."""

import json
import random
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_specs.errors import ArtifactError, SpecError
from tasks.encoders.checkpoint import model_digest, tensor_digests
from tasks.manipulation.edit import Edit, LayerEdit, apply_edit, rounding, undo_edit
from tasks.manipulation.edit_file import read_edit, write_edit
from tests.cases.edits import TEXT, VISION, bits, random_edit, random_state


def changed(edit, layer=TEXT, **fields):
    change = edit.layers[layer]
    return Edit(
        edit.base_model,
        edit.layers | {layer: LayerEdit(**{**vars(change), **fields})},
        edit.alpha,
        edit.rule,
        edit.tau,
    )


def index_of(edit, first):
    index = edit.layers[TEXT].index.clone()
    index[0] = first
    return index


def original_of(edit, value):
    original = edit.layers[TEXT].original.clone()
    original[-1] = value
    return original


BROKEN = {
    "NaN originals": (lambda edit: changed(edit, original=original_of(edit, float("nan"))), "NaN or infinite"),
    "infinite originals": (lambda edit: changed(edit, original=original_of(edit, float("inf"))), "NaN or infinite"),
    "a negative position": (lambda edit: changed(edit, index=index_of(edit, -1)), "negative, unsorted or repeated"),
    "unsorted positions": (lambda edit: changed(edit, index=edit.layers[TEXT].index.flip(0)), "unsorted"),
    "a repeated position": (lambda edit: changed(edit, index=index_of(edit, 1)), "repeated"),
    "a position past the end": (lambda edit: changed(edit, index=edit.layers[TEXT].index + 21), "but only 30 weights"),
    "positions of another type": (lambda edit: changed(edit, index=edit.layers[TEXT].index.int()), "expected as many"),
    "fewer originals": (lambda edit: changed(edit, original=edit.layers[TEXT].original[1:]), "expected as many"),
    "another encoder": (lambda edit: changed(edit, encoder="vision"), "is said to be of encoder 'vision'"),
    "one other original": (lambda edit: changed(edit, original=original_of(edit, 0.5)), r"\(1 of 9 values differ\)"),
    "zero for negative zero": (
        lambda edit: changed(edit, original=edit.layers[TEXT].original.abs()),
        "at position 1 of layer",
    ),
    "NaN alpha": (lambda edit: Edit(**{**vars(edit), "alpha": {"text": float("nan"), "vision": 1}}), "alpha of text"),
    "huge alpha": (lambda edit: Edit(**{**vars(edit), "alpha": {"text": 11, "vision": 1}}), "alpha of text is 11"),
    "no alpha": (lambda edit: Edit(**{**vars(edit), "alpha": {"text": -1}}), "vision encoder, which has no alpha"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_edit_is_refused_with_status_four_by_apply_and_as_a_file(tmp_path, kind):
    state = random_state()
    breaking, message = BROKEN[kind]
    edit = breaking(random_edit(state, -1.0))
    with pytest.raises(ArtifactError, match=message) as caught:
        apply_edit(edit, state)
    assert caught.value.exit_code == 4
    path = tmp_path / "edit.safetensors"
    try:
        write_edit(edit, path)
        with pytest.raises(ArtifactError, match=message):
            apply_edit(read_edit(path), state)
    except ValueError:
        assert "alpha" in kind  # NaN is no JSON


@pytest.mark.slow
def test_every_flipped_bit_of_a_true_file_is_found_or_changes_nothing(tmp_path):
    state = random_state()
    path = tmp_path / "edit.safetensors"
    write_edit(random_edit(state, -1.0), path)
    true, expected = path.read_bytes(), bits(apply_edit(read_edit(path), state))
    generator = random.Random(0)
    outcomes = {"refused": 0, "same": 0}
    for _ in range(600):
        position, bit = generator.randrange(len(true)), generator.randrange(8)
        flipped = bytearray(true)
        flipped[position] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            assert bits(apply_edit(read_edit(path), state)) == expected, (position, bit)
            outcomes["same"] += 1
        except (SpecError, ArtifactError):
            outcomes["refused"] += 1
    assert outcomes == {"refused": 600, "same": 0}


def test_a_file_of_before_the_digest_is_still_read_and_still_checked(tmp_path):
    state = random_state()
    path = tmp_path / "edit.safetensors"
    write_edit(random_edit(state, -1.0), path)
    tensors = load_file(path)
    size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    del metadata["content_sha256"]
    save_file(tensors, path, metadata=metadata)
    assert bits(apply_edit(read_edit(path), state)) == bits(apply_edit(random_edit(state, -1.0), state))
    tensors[f"{VISION}.original"][2] += 1e-3
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ArtifactError, match="1 of 9 values differ"):
        apply_edit(read_edit(path), state)


@pytest.mark.parametrize(
    ("field", "text"),
    [("alpha", "[]"), ("alpha", '{"text": "x"}'), ("rule", "1"), ("tau", "{"), ("encoder", '{"text": 1}')],
)
def test_metadata_of_another_type_is_refused(tmp_path, field, text):
    path = tmp_path / "edit.safetensors"
    write_edit(random_edit(random_state(), -1.0), path)
    size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    del metadata["content_sha256"]
    save_file(load_file(path), path, metadata=metadata | {field: text})
    with pytest.raises(ArtifactError, match=rf"its {field} cannot be read"):
        read_edit(path)


def test_a_tensor_that_no_layer_names_and_a_missing_one_are_refused(tmp_path):
    path = tmp_path / "edit.safetensors"
    write_edit(random_edit(random_state(), -1.0), path)
    size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    del metadata["content_sha256"]
    tensors = load_file(path)
    save_file(tensors | {"more": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(ArtifactError, match="tensor more is of no layer"):
        read_edit(path)
    del tensors[f"{TEXT}.index"]
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ArtifactError, match=r"\.index is missing"):
        read_edit(path)


@pytest.mark.parametrize(("alpha", "exact"), [(-1.0, True), (0.0, True), (0.5, True), (2.0, True), (0.3, False)])
def test_a_half_precision_checkpoint_is_edited_as_measured_or_the_difference_is_told(alpha, exact):
    half = random_state(dtype=torch.bfloat16)
    wide = {name: value.float() for name, value in half.items()}
    edit = random_edit(wide, alpha)
    assert edit.base_model == model_digest(tensor_digests(half))
    written, measured = apply_edit(edit, half), apply_edit(edit, wide)
    differences = [
        float(((written[name].double() - measured[name].double()) / measured[name].double()).nan_to_num().abs().max())
        for name in measured
    ]
    assert (max(differences) == 0) is exact
    assert rounding(edit, half) == pytest.approx(max(differences), abs=1e-12)
    assert rounding(edit, wide) == 0
    assert {name: value.view(torch.int16).tolist() for name, value in undo_edit(edit, written).items()} == {
        name: value.view(torch.int16).tolist() for name, value in half.items()
    }


def test_a_product_that_does_not_fit_half_precision_is_refused():
    state = random_state(dtype=torch.float16)
    state[f"{TEXT}.weight"].view(-1)[0] = 60000.0
    with pytest.raises(ArtifactError, match=r"2\.0 times its weights does not fit torch\.float16"):
        apply_edit(random_edit(state, 2.0), state)


def test_an_edit_of_a_store_is_compared_with_its_manifest(tmp_path):
    from data_specs.manifest import Recipe
    from tasks.lineage.circumstances import RunContext
    from tasks.lineage.store import Store

    edit = random_edit(random_state(), -1.0)
    recipe = Recipe(kind="edit", settings={}, inputs={}, code="")
    made = Store(tmp_path).materialise(
        recipe, lambda build: write_edit(edit, build.folder / "edit.safetensors"), RunContext()
    )
    path = made.path / "edit.safetensors"
    read_edit(path)
    # Sound in itself, and for the same model, but not what the run wrote.
    write_edit(random_edit(random_state(), 0.0), path)
    with pytest.raises(ArtifactError, match=r"is not the file that manifest\.json beside it lists"):
        read_edit(path)
