"""How a night ended that could not say it itself."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from flows.nightly.looking_back.ended import state_of

HERE = platform.node()
NOW = datetime.now(UTC).isoformat()


@pytest.fixture(scope="module")
def ended():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("status", "state"), [("completed", "measured"), ("failed", "failed"), ("interrupted", "interrupted")]
)
def test_what_a_night_says_of_its_end_is_believed(status, state, ended):
    assert state_of(status, NOW, HERE, ended, followed=True) == state


def test_a_night_whose_process_is_gone_crashed(ended):
    assert state_of("running", NOW, HERE, ended) == "crashed"
    assert state_of("running", NOW, HERE, os.getpid()) == "running"
    # Two may go on at once in one store.
    assert state_of("running", NOW, HERE, os.getpid(), followed=True) == "running"


def test_a_killed_process_that_nobody_asked_after_is_gone():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    started = datetime.now(UTC).isoformat()
    try:
        before = state_of("running", started, HERE, process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is over, and still there as a zombie
        assert (before, state_of("running", started, HERE, process.pid)) == ("running", "crashed")
    finally:
        process.kill()
        process.wait()


def test_a_process_that_took_a_dead_ones_number_is_not_taken_for_it():
    before = datetime.now(UTC) - timedelta(days=1)
    assert state_of("running", before.isoformat(), HERE, os.getpid()) == "crashed"


def test_a_night_of_another_host_goes_on_until_the_next_one_begins(ended):
    assert state_of("running", NOW, "elsewhere", ended) == "running"
    assert state_of("running", NOW, None, None) == "running"
    assert state_of("running", NOW, "elsewhere", ended, followed=True) == "crashed"
