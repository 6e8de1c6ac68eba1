"""`uwm edit` with what users give it: artifacts, copies of them, other formats of a model, strange outputs."""

import resource
import shutil
import subprocess

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from data_specs.errors import PipelineError
from data_specs.manifest import Recipe
from data_specs.run_config import ModelConfig
from flows.commands.edit import app
from flows.references import find_reference
from tasks.encoders.loading import load_model
from tasks.encoders.weights_file import read_weights
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import file_sha256
from tasks.lineage.exports import export_records
from tasks.lineage.store import Store
from tasks.lineage.tags import set_tag
from tasks.manipulation.edit import Edit, apply_edit, positions
from tasks.manipulation.edit_file import read_edit, write_edit
from tasks.manipulation.in_place import edited_in_place
from tests.cases.manifests import forge
from tests.cases.models import write_tiny_clip_model, write_tiny_model

TEXT, VISION = "transformer.resblocks.0.attn.out_proj", "visual.transformer.resblocks.1.mlp.c_proj"
ENCODER = {TEXT: "text", VISION: "vision"}


def edit_of(loaded, alpha=-1.0):
    layers = {
        layer: positions(torch.arange(0, 400, 7), loaded.model.get_parameter(f"{layer}.weight"), encoder)
        for layer, encoder in ENCODER.items()
    }
    sides = ("text", "vision")
    settings = (dict.fromkeys(sides, value) for value in (alpha, "top_share", 0.9))
    return Edit(loaded.digest, layers, *settings)


def bits(state):
    return {name: (tensor.dtype, tensor.reshape(-1).view(torch.uint8).tolist()) for name, tensor in state.items()}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a model and the settings of a run on it."""
    folder = tmp_path_factory.mktemp("base")
    write_tiny_model(folder)
    settings = {"name": "x", "model": {"architecture": "model.json", "weights": "model.safetensors"}}
    settings |= {"calibration": {"shards": ["c.tar"]}, "evaluation": {"shards": ["e.tar"]}}
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture(scope="module")
def loaded(base):
    return load_model(ModelConfig(architecture=str(base / "model.json"), weights=str(base / "model.safetensors")))


@pytest.fixture
def artifact(loaded, tmp_path):
    """The folder of an `edit` artifact in a store."""
    edit, store = edit_of(loaded), Store(tmp_path / "store")
    own = {name: {"rule": "top_share", "tau": 0.9, "alpha": -1.0} for name in ("text", "vision")}
    recipe = Recipe(kind="edit", settings=own, inputs={"model": loaded.digest}, code="code")
    made = store.materialise(recipe, lambda build: write_edit(edit, build.folder / "edit.safetensors"), RunContext())
    return made.path


def uwm(*arguments):
    """`uwm edit` in this process; an error's status and text as the entry point writes them."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    status, text = result.exit_code, result.stderr
    if isinstance(result.exception, PipelineError):
        status, text = result.exception.exit_code, f"error: {result.exception}"
    return subprocess.CompletedProcess(arguments, status, result.stdout, text)


def test_an_artifact_its_file_a_copy_and_a_link_give_the_same_model(artifact, base, tmp_path):
    file = artifact / "edit.safetensors"
    shutil.copytree(artifact, tmp_path / "copy of it")
    shutil.copyfile(file, tmp_path / "alone.safetensors")
    (tmp_path / "link.safetensors").symlink_to(file)
    edits = [artifact, file, tmp_path / "copy of it", tmp_path / "alone.safetensors", tmp_path / "link.safetensors"]
    for number, edit in enumerate(edits):
        done = uwm("apply", edit, base / "model.safetensors", "--out", tmp_path / "new" / f"{number}.safetensors")
        assert (done.returncode, done.stderr) == (0, "")
    assert len({path.read_bytes() for path in (tmp_path / "new").iterdir()}) == 1
    undone = tmp_path / "undone.safetensors"
    assert uwm("undo", artifact, tmp_path / "new/0.safetensors", "--out", undone).returncode == 0
    assert bits(load_file(undone)) == bits(load_file(base / "model.safetensors"))


def test_an_edit_is_named_as_every_artifact_and_the_store_keeps_what_was_made_with_it(
    artifact, base, tmp_path, monkeypatch
):
    store, model, out = tmp_path / "store", base / "model.safetensors", tmp_path / "new" / "edited.safetensors"
    monkeypatch.chdir(tmp_path)
    set_tag(Store(store), "prod", Store(store).refs()[0], "x")
    for named in (artifact.name[:12], "prod"):
        done = uwm("apply", named, model, "--out", out, "--store", store)
        assert (done.returncode, done.stderr) == (0, "")
    assert [(record["version"], record["out"]) for record in export_records(store)] == [(artifact.name, str(out))] * 2
    # What left the store is known again by its bytes.
    assert find_reference(Store(store), str(out)).version == artifact.name
    assert uwm("undo", "prod", out, "--out", tmp_path / "undone.safetensors", "--store", store).returncode == 0
    assert bits(load_file(tmp_path / "undone.safetensors")) == bits(load_file(model))
    for named, status, told in (
        ("prad", 4, "did you mean prod"),
        ("prad.safetensors", 2, "not exist"),
    ):
        done = uwm("apply", named, model, "--out", tmp_path / "x.safetensors", "--store", store)
        assert (done.returncode, told in done.stderr) == (status, True), done.stderr


def rewrite(artifact, edit, **changes):
    """Another edit in an artifact, whose manifest is made to say so."""
    write_edit(edit, artifact / "edit.safetensors")
    file = artifact / "edit.safetensors"

    def change(content):
        content["files"][0] |= {"sha256": file_sha256(file), "size_bytes": file.stat().st_size}
        content["recipe"]["settings"] |= changes

    forge(artifact / "manifest.json", change)


def change_file(artifact, loaded):
    write_edit(edit_of(loaded, 0.5), artifact / "edit.safetensors")


def remove_manifest(artifact, _):
    (artifact / "manifest.json").unlink()


def break_manifest(artifact, _):
    (artifact / "manifest.json").write_text("{")


def change_both(artifact, loaded):
    rewrite(artifact, edit_of(loaded, 0.5))


def change_all_three(artifact, loaded):
    rewrite(artifact, edit_of(loaded, 0.5), text={"rule": "top_share", "tau": 0.9, "alpha": 0.5})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (change_file, "is not the file that manifest.json beside it lists"),
        (remove_manifest, "manifest.json is not a readable manifest"),
        (break_manifest, "manifest.json is not a readable manifest"),
        (change_both, "its recipe"),
        (change_all_three, "whose recipe has digest"),
    ],
)
def test_an_artifact_that_is_not_as_it_was_made_is_refused_by_folder_file_and_link(
    artifact, base, loaded, tmp_path, change, expected
):
    change(artifact, loaded)
    (tmp_path / "link.safetensors").symlink_to(artifact / "edit.safetensors")
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"what lay there")
    for edit in (artifact, artifact / "edit.safetensors", tmp_path / "link.safetensors"):
        for command in ("apply", "undo"):
            done = uwm(command, edit, base / "model.safetensors", "--out", out)
            assert (done.returncode, done.stdout) == (4, "")
            assert expected in done.stderr
    assert out.read_bytes() == b"what lay there"
    assert not list(tmp_path.glob(".uwm*"))


def test_another_edit_may_not_lie_in_an_artifacts_folder(artifact, base, loaded, tmp_path):
    write_edit(edit_of(loaded, 0.5), artifact / "other.safetensors")
    done = uwm("apply", artifact / "other.safetensors", base / "model.safetensors", "--out", tmp_path / "o.safetensors")
    assert (done.returncode, "other.safetensors is not the file that" in done.stderr) == (4, True)


def test_the_model_may_be_a_config_a_pt_file_or_an_open_clip_folder(artifact, base, tmp_path):
    torch.save({"state_dict": load_file(base / "model.safetensors")}, tmp_path / "model.pt")
    models = [base / "model.safetensors", base / "run.yaml", base, tmp_path / "model.pt"]
    for number, model in enumerate(models):
        done = uwm("apply", artifact, model, "--out", tmp_path / "new" / f"{number}.safetensors")
        assert (done.returncode, done.stderr) == (0, "")
    assert len({path.read_bytes() for path in (tmp_path / "new").iterdir()}) == 1


def test_a_folder_of_transformers_is_read_under_the_names_that_the_edit_has(base, tmp_path):
    write_tiny_clip_model(tmp_path / "clip")
    loaded = load_model(ModelConfig(architecture=str(base / "model.json"), weights=str(tmp_path / "clip")))
    edit, edited, undone = (tmp_path / f"{name}.safetensors" for name in ("edit", "edited", "undone"))
    write_edit(edit_of(loaded), edit)
    assert uwm("apply", edit, tmp_path / "clip", "--out", edited).returncode == 0
    assert bits(load_file(edited)) == bits(apply_edit(read_edit(edit), loaded.model.state_dict()))
    assert uwm("undo", edit, edited, "--out", undone).returncode == 0
    assert bits(load_file(undone)) == bits(loaded.model.state_dict())
    done = uwm("apply", edit, tmp_path / "clip/model.safetensors", "--out", tmp_path / "no.safetensors")
    assert (done.returncode, "apply it to the unedited model" in done.stderr) == (4, True)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alpha", [-1.0, 0.5, 0.3])
def test_a_half_precision_checkpoint_becomes_what_was_measured_or_a_notice_says_how_far_from_it(
    base, tmp_path, dtype, alpha
):
    half = {name: tensor.to(dtype) for name, tensor in load_file(base / "model.safetensors").items()}
    model, edit, edited, undone = (tmp_path / f"{name}.safetensors" for name in ("model", "edit", "edited", "undone"))
    save_file(half, model)
    loaded = load_model(ModelConfig(architecture=str(base / "model.json"), weights=str(model)))
    write_edit(edit_of(loaded, alpha), edit)
    with edited_in_place(loaded, read_edit(edit)) as inside:
        measured = {name: tensor.clone() for name, tensor in inside.model.state_dict().items()}
    copy = {name: tensor.float() for name, tensor in half.items()}
    assert bits(apply_edit(read_edit(edit), copy)) == bits(measured)  # of equal digest, and exact
    done = uwm("apply", edit, model, "--out", edited)
    assert done.returncode == 0
    written = load_file(edited)
    assert {tensor.dtype for tensor in written.values()} == {dtype}
    same = all(torch.equal(written[name].float(), tensor) for name, tensor in measured.items())
    assert same == (done.stderr == "") == (alpha in (-1, 0.5))
    if not same:
        weights = [f"{layer}.weight" for layer in ENCODER]
        relative = max(float((written[name].double() / measured[name].double() - 1).abs().max()) for name in weights)
        assert f"differ by up to {relative:.2g} of their size" in done.stderr
    assert uwm("undo", edit, edited, "--out", undone).returncode == 0
    assert bits(load_file(undone)) == bits(half)


def test_an_output_in_the_place_of_what_is_read_is_refused_and_nothing_is_lost(artifact, base, tmp_path):
    for name in ("model.safetensors", "model.json", "run.yaml"):
        shutil.copyfile(base / name, tmp_path / name)
    model, alone, hard = (tmp_path / f"{name}.safetensors" for name in ("model", "alone", "hard"))
    shutil.copyfile(artifact / "edit.safetensors", alone)
    hard.hardlink_to(model)
    before = model.read_bytes(), alone.read_bytes()
    for read, out in ((model, model), (model, alone), (model, hard), (tmp_path / "run.yaml", model), (tmp_path, model)):
        done = uwm("apply", alone, read, "--out", out)
        assert (done.returncode, "is a file that is read, and would be lost" in done.stderr) == (2, True)
    for out in (artifact / "edit.safetensors", artifact / "new.safetensors"):
        done = uwm("apply", alone, model, "--out", out)
        assert (done.returncode, "would change the artifact that lies there" in done.stderr) == (2, True)
    assert (model.read_bytes(), alone.read_bytes()) == before
    assert sorted(path.name for path in artifact.iterdir()) == ["edit.safetensors", "manifest.json"]


def test_an_output_that_cannot_be_written_ends_in_a_sentence_and_leaves_what_was_there(artifact, base, tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_bytes(b"")
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"what lay there")
    model = base / "model.safetensors"
    for place in (tmp_path / "folder.safetensors", tmp_path / "file/x.safetensors", tmp_path / "out.pt"):
        done = uwm("apply", artifact, model, "--out", place)
        assert (done.returncode, done.stderr.startswith("error: ")) == (2, True), place
        assert "Traceback" not in done.stderr
    for long in ((tmp_path / ("x" * 300), model, out), (artifact, tmp_path / ("x" * 300), out)):
        done = uwm("apply", *long[:2], "--out", long[2])
        assert (done.returncode, "File name too long" in done.stderr) == (2, True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (model.stat().st_size // 2, hard))
    try:
        done = uwm("apply", artifact, model, "--out", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (done.returncode, f"cannot write --out {out}" in done.stderr) == (2, True)
    assert out.read_bytes() == b"what lay there"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("quick_gelu", [True, False])
def test_the_activation_that_the_settings_or_the_file_state_is_stated_by_the_file_that_is_written(
    base, loaded, tmp_path, quick_gelu
):
    told = {"quick_gelu": str(quick_gelu).lower()}
    write_edit(edit_of(loaded), tmp_path / "edit.safetensors")
    settings = yaml.safe_load((base / "run.yaml").read_text())
    settings["model"]["quick_gelu"] = quick_gelu
    (base / f"run-{told['quick_gelu']}.yaml").write_text(yaml.safe_dump(settings))
    save_file(load_file(base / "model.safetensors"), tmp_path / "model.safetensors", told)
    for model in (base / f"run-{told['quick_gelu']}.yaml", tmp_path / "model.safetensors"):
        out, undone = tmp_path / "new/out.safetensors", tmp_path / "new/undone.safetensors"
        assert uwm("apply", tmp_path / "edit.safetensors", model, "--out", out).returncode == 0
        assert uwm("undo", tmp_path / "edit.safetensors", out, "--out", undone).returncode == 0
        assert (read_weights(out).quick_gelu, read_weights(undone).quick_gelu) == (quick_gelu, quick_gelu)
    assert uwm("apply", tmp_path / "edit.safetensors", base / "run.yaml", "--out", out).returncode == 0
    assert read_weights(out).quick_gelu is None
