"""A command that gives a shard ends with whoever reads it, however early that is."""

import os
import signal
import threading
import time

import pytest

from tasks.shards.location import local_copy
from tests.cases.processes import alive, wait_for


class Stop(BaseException):
    pass


@pytest.fixture
def stops():
    """A signal that raises, as those do that end a run."""

    def hear(_number, _frame):
        raise Stop

    before = signal.signal(signal.SIGUSR1, hear)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01] * 3)
def test_a_command_that_is_interrupted_as_it_starts_does_not_go_on(tmp_path, stops, seconds):
    over = threading.Event()

    def stop():
        time.sleep(seconds)
        # Python forgets what a handler raises while it collects garbage; whoever is not heard asks again.
        while not over.is_set():
            os.kill(os.getpid(), stops)
            over.wait(2)

    stopping, told = threading.Thread(target=stop), tmp_path / "pid"

    def read():
        stopping.start()
        local_copy(f"pipe:echo $$ > {told}; exec sleep 1000", tmp_path / "copies")

    try:
        with pytest.raises(Stop):
            read()
    finally:
        over.set()
    stopping.join()
    text = told.read_text() if told.exists() else ""
    if text:
        wait_for(lambda: not alive(int(text)))
    assert list((tmp_path / "copies").glob("*")) == []
