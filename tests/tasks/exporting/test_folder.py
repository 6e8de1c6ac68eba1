import open_clip
import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from data_specs.errors import ArtifactError, SpecError
from flows.commands.export import export
from tasks.encoders.transformers_format import to_open_clip
from tasks.exporting.folder import export_model
from tests.cases.exporting_bench import Bench
from tests.cases.models import TINY_CLIP, TINY_COCA, TINY_SIGLIP, write_toy_tokenizer


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "store")


def test_open_clip_loads_the_folder_with_the_very_weights(bench, tmp_path):
    out = export_model(bench.store, bench.model.version[:12], "open_clip", tmp_path / "deep" / "out")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "model.safetensors", "open_clip_config.json"]
    loaded = open_clip.create_model(f"local-dir:{out}").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in bench.state.items())
    assert "open_clip.create_model_and_transforms" in (out / "README.md").read_text()


def test_transformers_loads_the_folder_and_prepares_images_as_open_clip(tmp_path):
    import numpy as np
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPModel

    preprocess_cfg = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic"}
    bench = Bench(tmp_path / "store", {**TINY_CLIP, "quick_gelu": True}, preprocess_cfg)
    out = export_model(bench.store, bench.model.version, "transformers", tmp_path / "out")
    theirs, report = CLIPModel.from_pretrained(out, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.config.vision_config.hidden_act == "quick_gelu"
    back = to_open_clip(load_file(out / "model.safetensors"), "exported")
    assert all(back[name].numpy().tobytes() == tensor.numpy().tobytes() for name, tensor in bench.state.items())
    assert "CLIPModel.from_pretrained" in (out / "README.md").read_text()

    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    _, _, ours = open_clip.create_model_and_transforms(
        f"local-dir:{export_model(bench.store, bench.model.version, 'open_clip', tmp_path / 'ours')}"
    )
    prepared = CLIPImageProcessor.from_pretrained(out)(picture, return_tensors="pt")["pixel_values"][0]
    # Resizing may round a pixel's value, of 256, to its neighbour.
    torch.testing.assert_close(prepared, ours(picture), rtol=0, atol=1.01 / 255 / 0.4)


@pytest.mark.parametrize("cfg", [TINY_SIGLIP, TINY_COCA], ids=["siglip", "coca"])
def test_what_transformers_cannot_express_is_refused_and_leaves_nothing(tmp_path, cfg):
    bench = Bench(tmp_path / "store", cfg)
    with pytest.raises(SpecError, match="transformers' CLIPModel cannot express this model: it has"):
        export_model(bench.store, bench.model.version, "transformers", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_other_artifacts_are_refused_with_the_model_to_name(bench, tmp_path):
    with pytest.raises(SpecError, match=f"kind edit, expected an edited model; .* is {bench.model.version[:16]}"):
        export_model(bench.store, bench.edit.version, "open_clip", tmp_path / "out")
    scores = next(ref for ref in bench.store.refs() if ref.kind == "scores")
    with pytest.raises(SpecError, match=r"kind scores, expected an edited model; see `uwm artifacts list`"):
        export_model(bench.store, scores.version, "open_clip", tmp_path / "out")
    with pytest.raises(ArtifactError, match="names none of the"):
        export_model(bench.store, "ffffffffffff", "open_clip", tmp_path / "out")


def test_an_existing_folder_is_left_alone_unless_it_is_empty(bench, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert export_model(bench.store, bench.model.version, "open_clip", out) == out
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(SpecError, match="is there already and not empty; choose another folder"):
        export_model(bench.store, bench.model.version, "transformers", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SpecError, match="is there already"):
        export_model(bench.store, bench.model.version, "open_clip", tmp_path / "file")
    with pytest.raises(SpecError, match="cannot write --out"):
        export_model(bench.store, bench.model.version, "open_clip", tmp_path / "file" / "below")


def test_a_changed_or_incomplete_store_is_refused(bench, tmp_path):
    path = bench.store.path(bench.model) / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x00\x01"[content[-1] == 0 :][:1])
    with pytest.raises(ArtifactError, match=r"model.safetensors changed since it was made"):
        export_model(bench.store, bench.model.version, "open_clip", tmp_path / "out")
    path.write_bytes(content)
    activations = next(ref for ref in bench.store.refs() if ref.kind == "activations.text")
    (bench.store.path(activations) / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"activations.text \w+ has no readable"):
        export_model(bench.store, bench.model.version, "open_clip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_models_own_tokenizer_is_put_beside_it_and_another_is_refused(tmp_path):
    from tasks.encoders.tokenizer import tokenizer_digest

    folder = write_toy_tokenizer(tmp_path / "tokenizer")
    bench = Bench(tmp_path / "store", TINY_SIGLIP, tokenizer=tokenizer_digest(folder))
    out = export_model(bench.store, bench.model.version, "open_clip", tmp_path / "out", folder)
    assert open_clip.get_tokenizer(f"local-dir:{out}")(["a safe"]).tolist() == [[3, 4] + [1] * 14]
    assert (
        "tokenizer that the model was edited and measured with lies in this folder" in (out / "README.md").read_text()
    )
    other = write_toy_tokenizer(tmp_path / "other", padding="<pad>")
    with pytest.raises(SpecError, match=r"^--tokenizer .*other is sha256:\w+, but the model was edited with sha256:"):
        export_model(bench.store, bench.model.version, "open_clip", tmp_path / "more", other)


def test_the_command_writes_and_says_where(bench, tmp_path):
    app = typer.Typer()
    app.command()(export)
    arguments = [bench.model.version[:16], "--format", "transformers", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--store", str(bench.store.root)])
    assert done.exit_code == 0, done.output
    assert done.output == f"wrote {tmp_path / 'out'}\n"
    assert {"config.json", "README.md", "preprocessor_config.json"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    assert CliRunner().invoke(app, [*arguments[:2], "onnx", *arguments[3:]]).exit_code == 2
