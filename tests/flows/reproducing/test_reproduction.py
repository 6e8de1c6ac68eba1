"""An artifact is made again in an empty store, from its manifest and what lies outside, and compared byte by byte."""

import json
import shutil

import pytest

from data_specs.errors import DataError
from data_specs.manifest import ArtifactRef
from flows.reproducing.reproduction import reproduce_artifact
from tasks.lineage.store import Store
from tests.cases.small_run import change_run, completed, kinds, write_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(here, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduced")
    config = write_run(folder, calibration=8, test=8, per_shard=8)
    run = completed(here, "run", config, folder / "store")
    grid = change_run(config, "grid")
    completed(here, "sweep", grid, folder / "store", "--tau", "0.8,0.9", "--encoder", "text")
    return run


def reference(finished, role):
    return ArtifactRef(kind=role.partition(".")[0], version=finished.version(role))


def test_an_edit_is_made_again_and_what_only_comes_after_it_is_not(finished, here, tmp_path):
    done = here("reproduce", "small:edit", "--store", str(tmp_path / "new"), "--from", str(finished.store), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["kind"], told["version"], told["equal"]) == ("edit", finished.version("edit"), True)
    assert {item["equal"] for item in told["artifacts"]} == {True}
    assert told["first_difference"] is None
    assert told["environment"] == {}
    made = kinds(tmp_path / "new")
    assert made["edit"] == made["scores"] == 1
    assert not {"embeddings.text", "evaluation", "model", "report"} & made.keys()


@pytest.mark.parametrize("named", ["small:evaluation.edited", "small:report", "grid:sweep"])
def test_figures_a_report_and_a_sweep_come_out_the_same(finished, here, named):
    done = here("reproduce", named, "--store", str(finished.store))  # a store that is there is where it is looked for
    assert done.returncode == 0, done.stderr
    assert "comes out with the same bytes" in done.stdout


def test_a_part_that_no_record_names_is_made_again(finished, tmp_path):
    store = Store(finished.store)
    part = next(ref for ref in store.refs() if ref.kind == "activations.text.part")
    found = reproduce_artifact(store, part, tmp_path / "new", device="cpu", workers=0)
    assert found.is_equal
    assert "scores" not in kinds(tmp_path / "new")


def test_shards_that_lie_elsewhere_now_are_named_by_their_settings(finished, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    shards = sorted(shutil.copy(path, moved) for path in finished.config.parent.glob("calibration-*.tar"))
    changes = [f"calibration.shards={json.dumps([str(path) for path in shards])}"]
    ref = reference(finished, "scores")
    found = reproduce_artifact(Store(finished.store), ref, tmp_path / "new", device="cpu", workers=0, changes=changes)
    assert found.is_equal
    changes = [f"calibration.shards={json.dumps([str(path) for path in finished.config.parent.glob('test-*.tar')])}"]
    found = reproduce_artifact(Store(finished.store), ref, tmp_path / "other", device="cpu", workers=0, changes=changes)
    assert not found.is_equal
    assert "did not come of it, but another with other inputs.shard" in found.instead


def test_a_shard_that_changed_or_is_gone_is_named_before_anything_is_made(finished, here, tmp_path):
    (shard,) = finished.config.parent.glob("calibration-*.tar")
    before = shard.read_bytes()
    try:
        changed = bytearray(before)
        changed[600] ^= 1
        shard.write_bytes(changed)
        done = here("reproduce", "small:edit", "--store", str(tmp_path / "new"), "--from", str(finished.store))
        assert done.returncode == DataError.exit_code
        assert f"{shard.name}' is not what the artifact was made of" in done.stderr
        shard.unlink()
        done = here("reproduce", "small:edit", "--store", str(tmp_path / "new"), "--from", str(finished.store))
        assert done.returncode == DataError.exit_code
        assert f"{shard.name}', of which the artifact was made, is not there" in done.stderr
    finally:
        shard.write_bytes(before)
    assert kinds(tmp_path / "new").total() == 0


def test_a_new_store_must_be_empty_and_a_run_must_be_known(finished, here, tmp_path):
    (tmp_path / "file").write_text("?")
    done = here("reproduce", "small", "--store", str(tmp_path), "--from", str(finished.store))
    assert (done.returncode, "is not empty" in done.stderr) == (2, True)
    copy = shutil.copytree(finished.store, tmp_path / "copy")
    shutil.rmtree(copy / ".runs")
    done = here("reproduce", finished.version("edit"), "--from", str(copy))
    assert done.returncode == 4
    assert "no record in" in done.stderr
