"""An edited model on a stand-in for the hub that is a process of its own, and what the hub reads of its card."""

import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from data_specs.errors import SpecError
from flows.commands.export import export
from tasks.exporting.folder import export_model
from tasks.exporting.places import hub_name
from tests.cases.exporting_bench import Bench
from tests.cases.hub import TOKEN, hub
from tests.cases.small_run import UWM, environment

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "store")


def exported(bench: Bench, address: str, out: Path, *options: str, **around: str) -> "subprocess.CompletedProcess[str]":
    """`uwm export`, as its user starts it."""
    command = [*UWM, "export", bench.model.version[:16], "--out", str(out), "--store", str(bench.store.root), *options]
    kept = {name: value for name, value in environment().items() if not name.startswith("HF_")}
    hub_of = {"HF_ENDPOINT": address, "HF_TOKEN": TOKEN, "HF_HOME": str(out.parent / "home")}
    return subprocess.run(command, env=kept | hub_of | around, capture_output=True, text=True, timeout=600, check=False)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def front_matter(card: Path) -> dict[str, object]:
    return yaml.safe_load(card.read_text(encoding="utf-8").split("---\n")[1])


def test_a_pushed_model_arrives_byte_by_byte_with_a_card_that_the_hub_reads(bench: Bench, tmp_path: Path) -> None:
    stated = ("--license", "mit", "--base-model", "openai/clip-vit-base-patch32")
    with hub(tmp_path / "hub") as address:
        done = exported(bench, address, tmp_path / "out", "--push", "lab/safer", *stated)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"pushed {address}/lab/safer/commit/{'0' * 40}"
        kept = tmp_path / "hub/lab/safer"
        for path in (tmp_path / "out").iterdir():
            assert (kept / path.name).read_bytes() == path.read_bytes()
        assert names(kept) == names(tmp_path / "out") | {".visibility"}
        assert (kept / ".visibility").read_text() == "private"
        assert load_file(kept / "model.safetensors").keys() == bench.state.keys()
        assert front_matter(kept / "README.md") == {
            "library_name": "open_clip",
            "pipeline_tag": "zero-shot-image-classification",
            "license": "mit",
            "base_model": "openai/clip-vit-base-patch32",
            "base_model_relation": "finetune",
            "tags": ["clip", "model-editing", "safety"],
        }
        # A repository that is there takes a further commit and stays as private as it is.
        again = exported(bench, address, tmp_path / "again", "--push", "lab/safer", "--public")
        assert (again.returncode, (kept / ".visibility").read_text()) == (0, "private"), again.stderr
        assert "license: other" in (kept / "README.md").read_text(encoding="utf-8")


def test_a_push_that_cannot_be_ends_in_one_line_and_leaves_the_folder(bench: Bench, tmp_path: Path) -> None:
    with hub(tmp_path / "hub") as address:
        for number, (name, around, told) in enumerate(
            (
                ("lab/safer", {"HF_TOKEN": "hf_wrong"}, "cannot push to lab/safer on http://127.0.0.1:"),
                ("others/safer", {}, "cannot push to others/safer on http://127.0.0.1:"),
                ("lab/safer", {"HF_TOKEN": ""}, "nobody is logged in to http://127.0.0.1:"),
                ("lab/safer", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot push to lab/safer on http://127.0.0.1:9"),
            )
        ):
            out = tmp_path / f"out{number}"
            done = exported(bench, address, out, "--push", name, **around)
            assert (done.returncode, told in done.stderr.splitlines()[-1]) == (2, True), done.stderr
            assert "Traceback" not in done.stderr
            assert (out / "README.md").is_file()
        assert not (tmp_path / "hub/lab").exists()


@pytest.mark.parametrize(
    ("option", "value"), [("--push", "safer"), ("--base-model", "a/b/c"), ("--license", "MIT License")]
)
def test_what_the_hub_would_refuse_is_refused_before_anything_is_written(
    bench: Bench, tmp_path: Path, option: str, value: str
) -> None:
    app = typer.Typer()
    app.command()(export)
    arguments = [bench.model.version, "--out", str(tmp_path / "out"), "--store", str(bench.store.root), option, value]
    with pytest.raises(SpecError, match=f"^{option} {value!r} is no "):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_without_a_word_the_license_is_told_as_the_base_models(bench: Bench, tmp_path: Path) -> None:
    fields = front_matter(export_model(bench.store, bench.model.version, "open_clip", tmp_path / "out") / "README.md")
    assert (fields["license"], fields["license_name"]) == ("other", "that-of-the-base-model")
    assert "base_model" not in fields


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf-hub:aimagelab/safeclip_vit-l_14", "aimagelab/safeclip_vit-l_14"),
        ("/home/x/.cache/huggingface/hub/models--timm--vit_b_32.openai/snapshots/0/open_clip_model.safetensors",
         "timm/vit_b_32.openai"),
        ("/data/ViT-B-32.pt", None),
        ("hf-hub:\n- a", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_hubs_name_of_a_base_model_is_told_by_where_it_came_from(source: str, name: str | None) -> None:
    assert hub_name(source) == name
