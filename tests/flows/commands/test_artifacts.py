"""`uwm artifacts` on stores that are not as a run left them, and `--store` where none can be."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from data_specs.run_config import ENCODERS
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Build, Store
from tests.cases.recipes import recipe_of
from tests.cases.small_run import UWM, environment, uwm

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> Store:
    def write(build: Build) -> None:
        (build.folder / "a.txt").write_text("a")

    opened = Store(tmp_path / "store")
    for kind in ("edit", "model", "scores"):
        opened.materialise(recipe_of(kind=kind), write, RunContext())
    shutil.copytree(opened.root / "model", opened.root / "model (copy)")
    return opened


def test_list_passes_over_copies_and_ends_well(store: Store) -> None:
    done = uwm("artifacts", "list", "--json", "--store", str(store.root))
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["edit", "model", "scores"]
    assert "passed over, under names that no artifact has: 1, such as" in done.stderr


def test_list_shows_what_is_broken_beside_the_rest_and_ends_with_the_stores_status(store: Store) -> None:
    for ref in store.refs()[:2]:
        (store.path(ref) / "manifest.json").write_text("{")
    done = uwm("artifacts", "list", "--store", str(store.root))
    assert done.returncode == 4
    assert [line.split()[0] for line in done.stdout.splitlines() if "broken" in line] == ["edit", "model"]
    assert "scores" in done.stdout
    assert done.stderr.count("is not a manifest: Invalid JSON") == 2
    assert done.stderr.splitlines()[-1].startswith("error: 2 of 3 artifacts broken: ")


@pytest.mark.parametrize("columns", [80, 50])
def test_list_shows_whole_names_on_a_narrow_screen(store: Store, columns: int) -> None:
    def write(build: Build) -> None:
        (build.folder / "a.txt").write_text("a")

    kinds = [f"{kind}.{encoder}" for kind in ("activations", "embeddings", "layer_scores") for encoder in ENCODERS]
    for kind in [*kinds, *(f"{kind}.part" for kind in kinds[:4])]:
        store.materialise(recipe_of(kind=kind), write, RunContext())
    command = [*UWM, "artifacts", "list", "--store", str(store.root)]
    around = environment() | {"COLUMNS": str(columns)}
    done = subprocess.run(command, env=around, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    if columns == 80:
        # One line each: those that are no parts, and the kinds of parts.
        assert sorted(line.split()[0] for line in lines[2:]) == sorted(ref.kind for ref in store.refs())
        versions = {ref.version[:16] for ref in store.refs() if not ref.kind.endswith(".part")}
        assert {line.split()[1] for line in lines[2:]} == {*versions, "1"}
    assert "…" not in done.stdout


def test_a_url_as_store_ends_with_the_settings_status_and_leaves_no_folder(tmp_path: Path) -> None:
    done = uwm("artifacts", "list", "--store", "s3://bucket/x", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("error: --store is a URL (s3://)")) == (2, 1)
    # From the environment, and before a server is started.
    command = [*UWM, "demo"]
    around = environment() | {"UWM_STORE": "gs://bucket/x"}
    done = subprocess.run(command, env=around, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr.count("error: --store is a URL (gs://)")) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_as_store_ends_with_the_stores_status(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = uwm("artifacts", "list", "--store", str(tmp_path / "file"))
    assert done.returncode == 4
    assert "is a file, expected a folder; choose another with --store" in done.stderr
