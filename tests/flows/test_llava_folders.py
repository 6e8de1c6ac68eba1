"""`uwm edit` and `uwm export` with the folder of a LLaVA, as a user gives them."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from data_specs.manifest import Recipe
from data_specs.run_config import ModelConfig
from flows.references import find_reference
from tasks.encoders.checkpoint import write_state_dict
from tasks.encoders.loading import load_model
from tasks.encoders.transformers_format import to_transformers
from tasks.lineage.circumstances import RunContext
from tasks.lineage.exports import export_records
from tasks.lineage.store import Store
from tasks.lineage.tags import set_tag
from tasks.manipulation.edit import Edit, apply_edit, positions
from tasks.manipulation.edit_file import write_edit
from tests.cases.command_line import called
from tests.cases.models import write_tiny_clip_model, write_tiny_model
from tests.cases.tiny_llava import TOWER_NAMES, rename_tower, write_tiny_llava

TEXT, VISION = "transformer.resblocks.0.attn.out_proj", "visual.transformer.resblocks.0.mlp.c_proj"
SETTINGS = {name: {"rule": "top_share", "tau": 0.9, "alpha": -1.0} for name in ("text", "vision")}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store with an edit and its model, and the LLaVA around their original."""
    root = tmp_path_factory.mktemp("llava")
    write_tiny_model(root / "clip")
    loaded = load_model(
        ModelConfig(architecture=str(root / "clip/model.json"), weights=str(root / "clip/model.safetensors"))
    )
    state = {name: value.detach() for name, value in loaded.model.state_dict().items()}
    layers = {
        layer: positions(torch.arange(0, 400, 7), state[f"{layer}.weight"], encoder)
        for layer, encoder in ((TEXT, "text"), (VISION, "vision"))
    }
    edit = Edit(
        loaded.digest, layers, *({name: SETTINGS[name][key] for name in SETTINGS} for key in ("alpha", "rule", "tau"))
    )
    store = Store(root / "store")

    def write_the_edit(build):
        write_edit(edit, build.folder / "edit.safetensors")
        build.counts["layers"] = {
            layer: {"n_weights": 4096, "n_selected": len(item.index)} for layer, item in layers.items()
        }

    def write_the_model(build):
        write_state_dict(apply_edit(edit, state), build.folder / "model.safetensors", {"format": "pt"})
        (build.folder / "open_clip_config.json").write_text(loaded.architecture.config_json())

    made = {}
    inputs = {"model": loaded.digest}
    for kind, settings, write in (("edit", SETTINGS, write_the_edit), ("model", {"tokenizer": None}, write_the_model)):
        recipe = Recipe(kind=kind, settings=settings, inputs=inputs, code="code")
        made[kind] = store.materialise(recipe, write, RunContext()).ref
        inputs = inputs | {"edit": made[kind]}
        set_tag(store, f"the-{kind}", made[kind], "x")
    write_tiny_llava(root / "llava", state)
    return root


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def uwm(place, *arguments):
    return called(*map(str, arguments), "--store", str(place / "store"))


@pytest.mark.slow
def test_an_edit_goes_into_a_llava_and_out_of_it_again(place, tmp_path):
    done = uwm(place, "edit", "apply", "the-edit", place / "llava", "--out", tmp_path / "edited")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {tmp_path / 'edited'}: 58 weights of 1 layers, in model-")
    assert "1 layers of the text encoder are left out, which a LLaVA does not have" in done.stderr
    assert "was not compared" not in done.stderr  # the store holds the edited model, so the base is known
    record = export_records(place / "store")[0]
    assert (record["form"], record["out"], record["kind"]) == ("llava", str(tmp_path / "edited"), "edit")
    assert find_reference(Store(place / "store"), str(tmp_path / "edited")).kind == "edit"

    twice = uwm(place, "edit", "apply", "the-edit", tmp_path / "edited", "--out", tmp_path / "twice")
    assert (twice.returncode, "carries this edit already" in twice.stderr) == (4, True)
    undone = uwm(place, "edit", "undo", "the-edit", tmp_path / "edited", "--out", tmp_path / "undone")
    assert undone.returncode == 0, undone.stderr
    assert files(tmp_path / "undone") == files(place / "llava")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edited", "undone"]


def test_an_edit_alone_says_that_it_knows_its_positions_only(place, tmp_path):
    shutil.copyfile(place / "store" / "edit" / edit_version(place) / "edit.safetensors", tmp_path / "alone.safetensors")
    done = uwm(place, "edit", "apply", tmp_path / "alone.safetensors", place / "llava", "--out", tmp_path / "edited")
    assert done.returncode == 0
    assert "the 58 values at the edit's positions are those of its base model" in done.stderr


def edit_version(place):
    return next(ref.version for ref in Store(place / "store").refs() if ref.kind == "edit")


@pytest.mark.parametrize("names", ["transformers 5", "transformers 4, in memory"])
def test_an_export_holds_the_edited_tower_and_a_card_that_says_what_was_measured(place, tmp_path, names):
    llava = tmp_path / "llava"
    shutil.copytree(place / "llava", llava)
    (llava / "README.md").write_text("the original's\n")
    rename_tower(llava, TOWER_NAMES[names])
    done = uwm(place, "export", "the-model", "--format", "llava", "--model", llava, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    expected = to_transformers(load_file(place / "store" / "model" / model_version(place) / "model.safetensors"))
    found = {
        name: value for path in (tmp_path / "out").glob("*.safetensors") for name, value in load_file(path).items()
    }
    weight = next(value for name, value in found.items() if name.endswith("encoder.layers.0.mlp.fc2.weight"))
    assert torch.equal(weight, expected["vision_model.encoder.layers.0.mlp.fc2.weight"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "# LLaVA edited for safety" in card
    assert "figures\nbelow are of the CLIP model by itself" in card
    assert "pipeline_tag: image-text-to-text" in card
    assert find_reference(Store(place / "store"), str(tmp_path / "out")).kind == "model"
    # Undone, nothing says any more that it is edited.
    undone = uwm(place, "edit", "undo", "the-edit", tmp_path / "out", "--out", tmp_path / "undone")
    assert undone.returncode == 0, undone.stderr
    assert files(tmp_path / "undone") == {name: data for name, data in files(llava).items() if name != "README.md"}


def model_version(place):
    return next(ref.version for ref in Store(place / "store").refs() if ref.kind == "model")


REFUSED = {
    "no model": (("--format", "llava"), 2, "--format llava needs --model: the folder of the LLaVA"),
    "another format": (("--model", "x"), 2, "--model is of --format llava, which is open_clip; leave it out"),
    "a tokenizer": (("--format", "llava", "--model", "x", "--tokenizer", "y"), 2, "a LLaVA keeps its own"),
    "nothing there": (("--format", "llava", "--model", "nowhere"), 2, "nowhere holds no config.json of a LLaVA"),
    "a clip": (("--format", "llava", "--model", "CLIP"), 2, "model_type 'clip', expected llava, llava_next"),
    "another tower": (("--format", "llava", "--model", "OTHER"), 4, "is not the one that the edit was made for"),
    "an artifact's place": (
        ("--format", "llava", "--model", "LLAVA", "--out", "STORED"),
        2,
        "would change the artifact",
    ),
    "a place inside": (("--format", "llava", "--model", "LLAVA", "--out", "INSIDE"), 2, "in the folder that is read"),
    "a file's name": (("--format", "llava", "--model", "LLAVA", "--out", "x.safetensors"), 2, "named like a file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_with_what_to_do(place, tmp_path, case):
    options, status, told = REFUSED[case]
    known = {"CLIP": tmp_path / "clip", "OTHER": tmp_path / "other", "LLAVA": place / "llava"}
    known |= {"STORED": place / "store" / "model" / model_version(place) / "x", "INSIDE": place / "llava" / "out"}
    if "CLIP" in options:
        write_tiny_clip_model(tmp_path / "clip")
    if "OTHER" in options:
        write_tiny_llava(tmp_path / "other")
    given = [known.get(option, option) for option in options]
    out = () if "--out" in given else ("--out", tmp_path / "out")
    done = uwm(place, "export", "the-model", *given, *out)
    assert (done.returncode, told in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_setting_of_a_config_is_none_of_a_llava(place, tmp_path):
    done = uwm(place, "edit", "apply", "the-edit", place / "llava", "--out", tmp_path / "out", "--set", "seed=1")
    assert (done.returncode, "--set changes the settings of a CONFIG.yaml" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_llava_of_the_hub_is_read_through_its_cache_and_named_in_the_card(place, tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit, cache = "0" * 40, tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(place / "llava", cache / "blobs")
    (cache / "snapshots" / commit).mkdir(parents=True)
    for path in (cache / "blobs").iterdir():
        (cache / "snapshots" / commit / path.name).symlink_to(f"../../blobs/{path.name}")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    given = ("--format", "llava", "--model", "hf-hub:org/tiny", "--out", tmp_path / "out")
    done = uwm(place, "export", "the-model", *given)
    assert done.returncode == 0, done.stderr
    assert "base_model: org/tiny\n" in (tmp_path / "out" / "README.md").read_text()
    done = uwm(place, "edit", "apply", "the-edit", "hf-hub:org/tiny", "--out", tmp_path / "applied")
    assert done.returncode == 0, done.stderr
    written = files(tmp_path / "out")
    del written["README.md"]
    assert files(tmp_path / "applied") == written
    assert files(cache / "blobs") == files(place / "llava")
    missing = uwm(place, "edit", "apply", "the-edit", "hf-hub:org/none", "--out", tmp_path / "none")
    assert (missing.returncode, "MODEL: cannot get hf-hub:org/none" in missing.stderr) == (2, True)
