"""A run whose model is the vision tower of a LLaVA: scored, edited, and put back."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tasks.lineage.store import Store
from tasks.manipulation.edit_file import read_edit
from tests.cases.extracting import write_model_with_tokenizer
from tests.cases.small_run import Finished, change_run, write_run
from tests.cases.tiny_llava import write_tiny_llava

FC2 = "vision_tower.vision_model.encoder.layers.0.mlp.fc2.weight"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A LLaVA, and settings of a run on its tower."""
    root = tmp_path_factory.mktemp("tower")
    config = write_run(root, calibration=16, test=8, vision={"tau": 0.9}, text=None)
    clip = write_model_with_tokenizer(root / "clip")
    write_tiny_llava(root / "llava", load_file(root / "clip/model.safetensors"))
    change_run(config, "clip", model=clip.model_dump(include={"architecture", "weights", "tokenizer"}))
    return change_run(config, "tower", model={"llava": "llava"})


@pytest.fixture(scope="module")
def finished(place, here, tmp_path_factory):
    return made(here, place, tmp_path_factory.mktemp("made") / "store")


def made(here, config, store):
    done = here("edit", "make", str(config), "--store", str(store), "--workers", "0", "--json")
    assert done.returncode == 0, done.stderr
    return Finished(config, store, json.loads(done.stdout.splitlines()[-1]))


def tensors(folder):
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


@pytest.mark.slow
def test_the_edit_of_a_tower_goes_into_its_llava(place, finished, here, tmp_path):
    edit = read_edit(finished.place("edit") / "edit.safetensors")
    assert [*edit.layers] == ["visual.transformer.resblocks.0.mlp.c_proj"]  # what is read does not pass the last block
    llava, store = place.parent / "llava", str(finished.store)
    done = here("edit", "apply", "tower:edit", str(llava), "--out", str(tmp_path / "edited"), "--store", store)
    assert done.returncode == 0, done.stderr
    assert "was not compared" not in done.stderr
    before, after = tensors(llava), tensors(tmp_path / "edited")
    expected = before[FC2].clone()
    (change,) = edit.layers.values()
    expected.view(-1)[change.index] *= -1
    assert 0 < len(change.index) < expected.numel()
    assert torch.equal(after[FC2], expected)
    assert [name for name in before if not torch.equal(before[name], after[name])] == [FC2]

    given = ("--format", "llava", "--model", str(llava), "--out", str(tmp_path / "exported"), "--store", store)
    done = here("export", "tower", *given)
    assert done.returncode == 0, done.stderr
    assert torch.equal(tensors(tmp_path / "exported")[FC2], expected)
    done = here("export", "tower", "--out", str(tmp_path / "clip"), "--store", store)
    assert (done.returncode, "no library loads by itself; use --format llava" in done.stderr) == (2, True)


@pytest.mark.slow
def test_another_llava_around_the_same_tower_makes_nothing_anew(place, finished, here, tmp_path):
    shutil.copytree(place.parent / "llava", tmp_path / "copy")
    config = change_run(place, "other", model={"llava": str(tmp_path / "copy")})
    again = made(here, config, finished.store)
    assert again.result["computed"] == 0
    assert again.version("edit") == finished.version("edit")


@pytest.mark.slow
def test_what_was_read_for_its_clip_is_not_read_again(place, finished, here, tmp_path):
    store = tmp_path / "store"
    of_clip = made(here, place.with_name("clip.yaml"), store)
    again = made(here, place, store)
    assert again.version("edit") == finished.version("edit")
    parts = [ref for ref in Store(store).refs() if ref.kind == "activations.vision.part"]
    taken = [(ref, item.ref) for ref in parts for item in Store(store).manifest(ref).inputs.get("taken_from", [])]
    assert 2 * len(taken) == len(parts) > 0
    for layer in read_edit(finished.place("edit") / "edit.safetensors").layers:
        ours, theirs, alone = (next(made.place("scores").rglob(f"*{layer}*/*")) for made in (again, of_clip, finished))
        assert ours.read_bytes() == theirs.read_bytes() == alone.read_bytes()
    done = here("lineage", "show", taken[0][0].version, "--store", str(store))
    assert (done.returncode, taken[0][1].version[:12] in done.stdout) == (0, True), done.stdout + done.stderr
    done = here("lineage", "verify", "--all", "--store", str(store))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_what_needs_a_text_encoder_is_refused_before_anything_is_computed(place, here, tmp_path):
    for command in ("run", "plan"):
        done = here(command, str(place), "--store", str(tmp_path / "store"))
        assert (done.returncode, "cannot be measured; `uwm edit make" in done.stderr) == (2, True), done.stderr
    done = here("edit", "make", str(place), "--store", str(tmp_path / "store"), "--set", "model.llava=nowhere")
    assert (done.returncode, "nowhere holds no config.json of a LLaVA" in done.stderr) == (2, True), done.stderr
    assert not list(tmp_path.glob("store/[!.]*"))
