"""`uwm store gc` on the store of a real run: what can be made again is dropped, made again, and has the same bytes."""

import json
import shutil

import pytest

from tests.cases.forked import forked
from tests.cases.small_run import change_run, completed, file_digests, write_run
from tests.cases.store_users import using

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(here, tmp_path_factory):
    folder = tmp_path_factory.mktemp("collected")
    config = write_run(folder, calibration=8, test=8, per_shard=8)
    return completed(here, "run", config, folder / "store")


@pytest.fixture
def store(finished, tmp_path):
    """A copy, which is a store like any other."""
    return shutil.copytree(finished.store, tmp_path / "store")


def collected(here, store, *options):
    done = here("store", "gc", "--store", str(store), "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def model_in(store):
    (folder,) = store.glob("model/*")
    return sorted(path.name for path in folder.iterdir())


def test_a_model_is_dropped_and_the_next_run_makes_the_same_bytes_again(here, finished, store):
    before = file_digests(store)
    size = sum(path.stat().st_size for path in store.glob("model/*/[!m]*")) + (
        next(store.glob("model/*/model.safetensors")).stat().st_size
    )
    told = collected(here, store, "--dry-run")
    assert file_digests(store) == before
    assert ([item["kind"] for item in told["dropped"]], told["freed_bytes"]) == (["model"], size)
    assert 0 < told["seconds_to_make_again"] < 600
    assert collected(here, store)["freed_bytes"] == size
    assert model_in(store) == ["manifest.json", "pruned.json"]
    assert {name: digest for name, digest in before.items() if not name.startswith("model/")} == {
        name: digest for name, digest in file_digests(store).items() if not name.startswith("model/")
    }
    assert collected(here, store)["dropped"] == []
    assert here("store", "log", "--verify", "--store", str(store)).returncode == 0
    again = completed(here, "run", finished.config, store)
    assert again.result["artifacts"]["model"]["version"] == finished.version("model")
    assert file_digests(store) == before


def test_an_export_of_what_was_dropped_makes_it_again(here, store, tmp_path):
    collected(here, store)
    done = here("export", "small", "--out", str(tmp_path / "safer"), "--store", str(store))
    assert done.returncode == 0, done.stderr
    (model,) = store.glob("model/*/model.safetensors")
    assert (
        tmp_path / "safer" / next(path.name for path in (tmp_path / "safer").glob("*.safetensors"))
    ).stat().st_size == model.stat().st_size
    done = here("store", "restore", "small", "--store", str(store))
    assert "has all its files" in done.stdout


def test_embeddings_and_statistics_that_were_dropped_are_made_again_where_something_is_made_of_them(
    here, finished, store
):
    told = collected(here, store, "--kinds", "all")
    kinds = {item["kind"] for item in told["dropped"]}
    assert {"model", "embeddings.text", "activations.vision", "activations.vision.part"} <= kinds
    assert not {"edit", "scores", "evaluation", "report"} & kinds
    done = here("store", "restore", "small:embeddings.vision.edited", "--store", str(store))
    assert done.returncode == 0, done.stderr
    assert "has its files again" in done.stdout
    assert dropped_in(store) == kinds  # of what it was made of, and of the original, nothing
    assert here("store", "restore", "small:model", "--store", str(store)).returncode == 0
    kept = file_digests(store)
    # Scores and figures are there: a run of the same settings asks for nothing that they were made of.
    assert planned(here, finished.config, store) == []
    again = completed(here, "run", finished.config, store)
    assert (again.result["computed"], again.result["metrics"]) == (0, finished.result["metrics"])
    assert file_digests(store) == kept
    assert here("lineage", "verify", "--all", "--store", str(store)).returncode == 0
    # Another edit of one encoder asks for the embeddings of the other one, and for no statistics.
    changed = change_run(finished.config, "another", vision={"tau": 0.7})
    plan = planned(here, changed, store)
    assert {"embeddings.text", "embeddings.vision", "evaluation"} <= {*plan}
    done = here("run", str(changed), "--store", str(store), "--workers", "0", "--json")
    assert done.returncode == 0, done.stderr
    assert "embeddings.text" in done.stderr
    assert "is needed, and its files were dropped on" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["computed"] >= len(plan)
    # Manifests are what they were, so that what came back has the same bytes.
    assert here("lineage", "verify", "--all", "--store", str(store)).returncode == 0
    assert {kind for kind in kinds if kind.startswith("activations.")} <= dropped_in(store)
    assert not any(kind.startswith("activations.") for kind in plan)


def test_a_note_of_dropping_that_was_changed_ends_the_run_that_counts_on_it(here, finished, store):
    collected(here, store, "--kinds", "activations")
    (note,) = store.glob("activations.vision/*/pruned.json")
    note.write_text(note.read_text().replace("uwm store gc", "somebody"))
    done = here("run", str(finished.config), "--store", str(store), "--workers", "0")
    assert done.returncode == 4
    assert "pruned.json in" in done.stderr


def dropped_in(store):
    """The kinds of artifacts whose files were dropped."""
    return {path.parent.parent.name for path in store.glob("*/*/pruned.json")}


def planned(here, config, store):
    """The kinds of what a run would make."""
    done = here("plan", str(config), "--store", str(store), "--json")
    assert done.returncode == 0, done.stderr
    return [item["kind"] for item in json.loads(done.stdout.splitlines()[-1])["artifacts"] if not item["there"]]


def test_what_is_tagged_young_used_or_cannot_be_made_again_is_kept(here, finished, store, tmp_path):
    def kept(*options):
        told = collected(here, store, *options)
        assert told["dropped"] == []
        return told["kept"][0]["why"]

    assert here("tag", "prod", "small", "--store", str(store)).returncode == 0
    assert kept("--keep-tagged") == "tagged prod"
    assert kept("--older-than", "1d").startswith("used on 20")
    (folder,) = store.glob("model/*")
    from data_specs.manifest import ArtifactRef

    with using(store, ArtifactRef(kind="model", version=folder.name)):
        assert kept() == "a process uses it"
    weights = finished.config.with_name("model.safetensors")
    moved = weights.rename(tmp_path / "moved.safetensors")
    try:
        assert "cannot be made again: model.weights" in kept()
    finally:
        moved.rename(weights)
    assert model_in(store) == ["manifest.json", "model.safetensors", "open_clip_config.json"]
    assert len(collected(here, store, "--force")["dropped"]) == 1


def test_ages_and_kinds_that_make_no_sense_are_refused(here, store):
    for options, said in ((("--older-than", "soon"), "no age"), (("--kinds", "scores"), "expected model, embeddings")):
        done = here("store", "gc", "--store", str(store), *options)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_collections_while_a_run_goes_on_take_nothing_from_it(here, finished, store, api_url, tmp_path):
    config = change_run(finished.config, "another", text={"tau": 0.7})
    command = ["run", str(config), "--store", str(store), "--workers", "0", "--json"]
    run = forked(*command, api_url=api_url, said=tmp_path / "said")
    n_collections = 0
    while run.poll() is None:
        collected(here, store, "--kinds", "all")
        n_collections += 1
    assert run.wait() == 0, run.err
    assert n_collections > 0
    done = here("lineage", "verify", "--all", "--store", str(store))
    assert done.returncode == 0, done.stderr
