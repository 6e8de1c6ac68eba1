"""What was done to a store past its log is found, and what a run does is not taken for it."""

import shutil
import subprocess
import sys

import pytest

from data_specs.errors import SpecError
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import recipe_ref
from tasks.lineage.dropping.discarding import discard
from tasks.lineage.store import Store
from tasks.lineage.trust.log import Log
from tasks.lineage.trust.log_check import acknowledge, check_log
from tests.cases.logs import log_lines, put_lines, store_of
from tests.cases.places import ROOT
from tests.cases.recipes import recipe_of, write_two


def only_fault(root, expected=()):
    (fault,) = check_log(root, expected).faults
    return fault


def first_folder(store):
    return store.path(recipe_ref(recipe_of(settings={"tau": 0})))


def test_a_store_that_only_runs_have_changed_is_as_its_log_says(tmp_path):
    store = store_of(tmp_path)
    noted = Log(tmp_path).head()
    discard(store, store.refs()[0])
    store_of(tmp_path, 5)
    report = check_log(tmp_path, [noted])
    assert report.faults == []
    assert report.notes == ["entry 3 is the head that was noted; 4 since"]
    assert report.head == Log(tmp_path).head()


def test_an_artifact_that_was_removed_is_missed(tmp_path):
    folder = first_folder(store_of(tmp_path))
    shutil.rmtree(folder)
    assert only_fault(tmp_path) == f"scores {folder.name[:12]} of entry 1 is gone, and the log does not say why"


def test_an_artifact_that_was_put_there_is_a_stranger(tmp_path):
    store = store_of(tmp_path / "own", 2)
    stranger = first_folder(store_of(tmp_path / "other", 1)).rename(store.root / "scores" / ("f" * 64))
    assert only_fault(store.root).startswith(f"scores {stranger.name[:12]} is not in the log")


def test_a_manifest_that_was_changed_is_in_no_entry(tmp_path):
    manifest = first_folder(store_of(tmp_path)) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"precision": "fp32"', '"precision": "bf16"'))
    assert "its manifest is in no entry; entry 1 is the newest" in only_fault(tmp_path)


def test_an_artifact_that_was_brought_back_to_what_it_was_is_found(tmp_path):
    folder = first_folder(store_of(tmp_path))
    shutil.copytree(folder, tmp_path / ".older")
    shutil.rmtree(folder)
    store_of(tmp_path)
    assert check_log(tmp_path).faults == []  # made anew, and the log says so
    shutil.rmtree(folder)
    (tmp_path / ".older").rename(folder)
    assert only_fault(tmp_path).endswith("its manifest is that of entry 1 again; entry 4 is the newest")


def test_an_artifact_that_was_discarded_and_brought_back_is_found(tmp_path):
    store = store_of(tmp_path)
    folder = first_folder(store)
    shutil.copytree(folder, tmp_path / ".older")
    discard(store, recipe_ref(recipe_of(settings={"tau": 0})))
    assert check_log(tmp_path).faults == []
    (tmp_path / ".older").rename(folder)
    assert only_fault(tmp_path).endswith("is there, but entry 4 says that it was discarded")


def test_a_log_that_was_cut_with_its_artifacts_passes_alone_and_not_against_a_head_that_was_noted(tmp_path):
    store = store_of(tmp_path)
    noted = Log(tmp_path).head()
    shutil.rmtree(store.path(recipe_ref(recipe_of(settings={"tau": 2}))))
    put_lines(tmp_path, log_lines(tmp_path)[:2])
    assert check_log(tmp_path).faults == []
    assert only_fault(tmp_path, [noted]).startswith(f"the log does not hold the head {noted[:16]} that was noted")


def test_a_log_that_was_written_anew_is_not_the_one_that_was_noted(tmp_path):
    store_of(tmp_path)
    noted = Log(tmp_path).head()
    shutil.rmtree(tmp_path / ".log")
    assert only_fault(tmp_path).startswith("there is no log, but 3 artifacts")
    store_of(tmp_path, 4)
    assert check_log(tmp_path).faults == []
    assert "does not hold the head" in only_fault(tmp_path, [noted])


def test_a_head_that_is_none_is_refused(tmp_path):
    store_of(tmp_path)
    for noted in ("abc", "A" * 64, ""):
        with pytest.raises(SpecError, match="no head of a log; expected 64 hexadecimal digits"):
            check_log(tmp_path, [noted])


def test_what_was_acknowledged_is_told_once_and_stays_in_the_log(tmp_path):
    store = store_of(tmp_path)
    folder = first_folder(store)
    shutil.move(folder, tmp_path / "scores" / ("f" * 64))
    assert len(acknowledge(tmp_path).faults) == 2
    assert check_log(tmp_path).faults == []
    assert [entry.event for entry in check_log(tmp_path).entries[3:]] == ["lost", "found"]
    head = Log(tmp_path).head()
    assert acknowledge(tmp_path).faults == []
    assert Log(tmp_path).head() == head


KILLED = """
import os, signal, sys
from tasks.lineage.circumstances import RunContext
from tasks.lineage.listeners import Listener
from tasks.lineage.trust.log import Log
from tasks.lineage.store import Store
from tests.cases.recipes import recipe_of, write_two

class Dies(Listener):
    def publishing(self, manifest, folder):
        os.kill(os.getpid(), signal.SIGKILL)

store = Store(sys.argv[1])
Store(sys.argv[1], listeners=[*store.listeners.each, Dies()]).materialise(recipe_of(), write_two, RunContext())
"""


def test_a_run_that_was_killed_between_the_line_and_the_artifact_is_no_fault_and_goes_on(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode < 0
    assert not Store(tmp_path).holds(recipe_ref(recipe_of()))
    report = check_log(tmp_path)
    assert report.faults == []
    assert "is not there yet; a run was ended as it put it there" in report.notes[0]
    Store(tmp_path).materialise(recipe_of(), write_two, RunContext())
    report = check_log(tmp_path)
    assert (report.faults, [entry.event for entry in report.entries]) == ([], ["made", "made"])
