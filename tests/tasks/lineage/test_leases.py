"""Locks by which processes divide work: none waits who need not, and no dead process holds anybody."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, Recipe
from tasks.lineage.circumstances import RunContext
from tasks.lineage.leases import Leases
from tasks.lineage.store import Store
from tests.cases.places import ROOT
from tests.cases.processes import wait_for

REF = ArtifactRef(kind="scores", version="a" * 64)

HOLDER = """
import os, sys, time
from pathlib import Path
from data_specs.manifest import ArtifactRef
from tasks.lineage.leases import Leases
release = Leases(Path(sys.argv[1])).wait(ArtifactRef(kind="scores", version="a" * 64))
child = os.fork() if sys.argv[2] == "fork" else None
if child != 0:
    print(child, flush=True)
time.sleep(600)
"""


def holder(root, how="alone"):
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(root), how], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_what_is_taken_is_not_given_twice_and_given_back_it_is_free(tmp_path):
    leases, others = Leases(tmp_path), Leases(tmp_path)
    assert not others.is_taken(REF)
    release = leases.take(REF)
    assert others.is_taken(REF)
    assert others.take(REF) is None
    release()
    assert not others.is_taken(REF)
    again = others.take(REF)
    assert leases.take(REF) is None
    again()


def test_to_ask_who_holds_a_lock_leaves_it_free(tmp_path):
    Leases(tmp_path).take(REF)()
    assert not Leases(tmp_path).is_taken(REF)
    release = Leases(tmp_path).take(REF)
    assert release is not None
    release()


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_a_killed_process_holds_nobody_even_while_a_child_that_it_forked_lives_on(tmp_path, how):
    process = holder(tmp_path, how)
    child = process.stdout.readline().strip()
    try:
        assert Leases(tmp_path).is_taken(REF)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        release = wait_for(lambda: Leases(tmp_path).take(REF))
        release()
    finally:
        process.kill()
        if child.isdigit():
            os.kill(int(child), signal.SIGKILL)
        process.stdout.close()


def test_an_artifact_in_the_making_is_passed_over_and_one_that_is_there_is_found(tmp_path):
    store, recipe = Store(tmp_path), Recipe(kind="scores", code="x")

    def write(build):
        (build.folder / "a.txt").write_text("a")

    begun = store.begin_unless_taken(recipe, write, RunContext())
    assert Store(tmp_path).begin_unless_taken(recipe, write, RunContext()) is None
    made = begun()
    assert not made.reused
    assert Store(tmp_path).begin_unless_taken(recipe, write, RunContext())().reused


def test_a_disk_without_locks_is_refused_and_no_mere_file_taken_for_a_lock(tmp_path, monkeypatch):
    def missing(*_):
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(ArtifactError, match=r"cannot lock .*its disk has no file locks; choose another --store"):
        Leases(tmp_path).wait(REF)
