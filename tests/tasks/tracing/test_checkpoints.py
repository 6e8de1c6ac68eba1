"""A REF may be a file: artifacts are found by its bytes, checkpoints by their tensors, whoever wrote them."""

import shutil

import pytest
import torch

from data_specs.errors import ArtifactError
from data_specs.manifest import Recipe
from flows.references import find_reference
from tasks.encoders.checkpoint import encoder_digest, tensor_digests, write_state_dict
from tasks.exporting.folder import export_model
from tasks.lineage.circumstances import RunContext
from tasks.lineage.exports import EXPORTS, export_records
from tasks.tracing.checkpoints import artifacts_with_content
from tests.cases.exporting_bench import BASE, Bench
from tests.cases.models import TINY_CLIP


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("checkpoints") / "store", {**TINY_CLIP, "quick_gelu": True})
    state = {name: tensor.clone() for name, tensor in made.state.items()}
    state["transformer.resblocks.0.attn.out_proj.weight"] *= -1
    made.state = state
    config = (made.store.path(made.model) / "open_clip_config.json").read_text()

    def write(build):
        write_state_dict(state, build.folder / "model.safetensors", {"format": "pt"})
        (build.folder / "open_clip_config.json").write_text(config)
        digests = tensor_digests(state)
        build.counts["encoder_digests"] = {name: encoder_digest(digests, name) for name in ("text", "vision")}

    recipe = Recipe(kind="model", settings={"tokenizer": None}, inputs={"edit": made.edit, "model": BASE}, code="2")
    made.edited = made.store.materialise(recipe, write, RunContext()).ref
    return made


@pytest.mark.parametrize("form", ["open_clip", "transformers"])
def test_an_exported_folder_and_its_weights_are_found_with_and_without_a_record(bench, tmp_path, form):
    out = export_model(bench.store, bench.edited.version, form, tmp_path / "out")
    record = export_records(bench.store.root)[0]
    assert (record["version"], record["out"], record["form"]) == (bench.edited.version, str(out), form)
    assert {file["path"] for file in record["files"]} == {path.name for path in out.iterdir()}
    for _ in range(2):
        assert find_reference(bench.store, str(out)) == bench.edited
        shutil.rmtree(bench.store.root / EXPORTS)
        (bench.store.root / EXPORTS).mkdir()


def test_the_same_tensors_in_another_file_are_the_same_model(bench, tmp_path):
    write_state_dict(bench.state, tmp_path / "again.safetensors", {"format": "pt", "quick_gelu": "true"})
    torch.save({"state_dict": bench.state}, tmp_path / "again.pt")
    for name in ("again.safetensors", "again.pt"):
        assert find_reference(bench.store, str(tmp_path / name)) == bench.edited
    changed = dict(bench.state) | {"visual.proj": bench.state["visual.proj"] + 1}
    write_state_dict(changed, tmp_path / "changed.safetensors", {"format": "pt"})
    with pytest.raises(ArtifactError, match=r"no artifact in .* holds the content of"):
        find_reference(bench.store, str(tmp_path / "changed.safetensors"))


def test_an_artifact_s_folder_a_file_in_it_and_a_copy_of_one_name_it(bench, tmp_path):
    folder = bench.store.path(bench.edit)
    shutil.copyfile(folder / "edit.safetensors", tmp_path / "copy.safetensors")
    for path in (folder, folder / "edit.safetensors", folder / "manifest.json", tmp_path / "copy.safetensors"):
        assert find_reference(bench.store, str(path)) == bench.edit


def test_what_is_no_checkpoint_is_nobody_s_content(bench, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "not.safetensors").write_bytes(b"\0" * 100)
    (tmp_path / "folder").mkdir()
    for name in ("empty", "not.safetensors", "folder"):
        assert artifacts_with_content(bench.store, tmp_path / name) == []
