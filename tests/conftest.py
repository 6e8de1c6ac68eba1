"""One Prefect server for all tests that need one, with a home of its own; these tests are slow."""

import atexit
import gc
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cases.s3_server import S3Server, s3_server

# Before torch is imported, and for every child: threads of several tests at once wait for each other longer than they
# compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Files of over half a minute, the longest first.
_LONGEST = (
    "test_schedules.py",
    "test_runners.py",
    "test_serving.py",
    "test_temporary_server.py",
    "test_workers.py",
    "test_readme.py",
    "test_seven_nights.py",
    "test_settings_and_versions.py",
    "test_shared_store.py",
    "test_sweep.py",
    "test_remote.py",
    "test_memory.py",
    "test_local.py",
    "test_run.py",
    "test_decoded_once.py",
    "test_notebook.py",
    "test_plan.py",
    "test_killed_at_once.py",
    "test_killed.py",
)


def _not_waited_for(file: Any) -> None:
    os.fstat(file if isinstance(file, int) else file.fileno())  # a file it must be


def pytest_configure() -> None:
    # Nobody cuts the power during a test, and a run waits for the disk a hundred times, for a quarter of its time. What
    # runs in processes of its own waits as ever.
    os.fsync = _not_waited_for
    # A script starts its background jobs with SIGINT ignored, which every child that a test interrupts would inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        if {"prefect_home", "s3"} & {*item.fixturenames}:
            item.add_marker("slow")
    # Files go to workers whole: one that takes a minute must not be the last. Stable, so that a file stays together.
    items.sort(key=lambda item: _LONGEST.index(item.path.name) if item.path.name in _LONGEST else len(_LONGEST))


def pytest_collection_finish() -> None:
    # What was imported stays; looking through it again and again takes a tenth of the time.
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # libraries count what the interpreter's end leaves, and complain


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = str(tmp_path_factory.mktemp("prefect"))
    before = {name: os.environ.get(name) for name in ("PREFECT_HOME", "PREFECT_API_URL")}
    os.environ["PREFECT_HOME"] = home
    os.environ.pop("PREFECT_API_URL", None)
    yield home
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server process with one bucket; each test has a prefix of its own."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def api_url(prefect_home: str) -> Iterator[str]:
    """A real server process; its address goes to child processes."""
    from flows.server.temporary import TemporaryServer

    server = TemporaryServer()
    server.wait()
    yield server.api_url
    server.stop()
