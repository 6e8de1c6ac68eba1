"""Captions made by several processes: the bytes of one, a bad picture counted, whoever starts them."""

import json

import pytest

from tests.cases.captions import write_caption_run
from tests.cases.small_run import Finished, Here, completed, damage, file_digests

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, here: Here) -> Finished:
    """Of a set whose second shard holds a bad picture."""
    folder = tmp_path_factory.mktemp("alone")
    config = write_caption_run(folder, test=8, per_shard=2, captioning={"limit": 7}, max_bad_fraction=0.5)
    damage(folder / "test-000001.tar", {"test0002.unsafe.png": b"no picture"})
    return completed(here, "caption", config, folder / "store")


def captions_of(store):
    return {name: digest for name, digest in file_digests(store).items() if name.startswith("captions")}


def processes(store):
    parts = store.glob("captions.part/*/manifest.json")
    return {json.loads(path.read_text())["circumstances"]["process"] for path in parts}


@pytest.mark.parametrize("runner", ["local", "dask", "ray"])
def test_several_processes_make_the_bytes_of_one(alone: Finished, here: Here, tmp_path, runner) -> None:
    if runner != "local":
        pytest.importorskip(f"prefect_{runner}")
    shared = completed(here, "caption", alone.config, tmp_path, "--devices", "cpu:2", "--runner", runner)
    assert len(captions_of(tmp_path)) == 3 * (4 + 4)
    assert captions_of(tmp_path) == captions_of(alone.store)
    assert shared.version("caption_evaluation.edited") == alone.version("caption_evaluation.edited")
    counts = json.loads((shared.place("captions.edited") / "manifest.json").read_text())["counts"]
    assert (counts["samples_used"], counts["samples_skipped"]) == (6, {"undecodable image": 1})
    assert len(processes(alone.store)) == 1
    assert processes(tmp_path) - processes(alone.store) != set()
