"""A Prefect server as people run it: a process whose database outlives it."""

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

_SECONDS = 600


@contextmanager
def lasting_server(home: Path, port: int) -> Iterator[str]:
    """Start `prefect server start` on a home folder, and end it with the block; gives the API's URL once it answers."""
    url = f"http://127.0.0.1:{port}/api"
    own = {"PREFECT_HOME": str(home), "PREFECT_API_URL": url, "PREFECT_SERVER_UI_ENABLED": "false", "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, **own}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_server(process, url)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def wait_for_server(process: "subprocess.Popen[bytes]", url: str, said: Callable[[], str] = str) -> None:
    """Return once a server's API answers; `said` is what it has logged."""
    end = time.monotonic() + _SECONDS
    while not _answers(url):
        assert process.poll() is None, f"the server ended: {said()}"
        assert time.monotonic() < end, f"the server does not answer: {said()}"
        time.sleep(0.2)


def free_port() -> int:
    """None of those that the kernel gives to others before the server has it."""
    while True:
        with suppress(OSError), socket.create_server(("127.0.0.1", random.randrange(15_000, 30_000))) as probe:
            return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=60, trust_env=False).is_success
    except httpx.TransportError:
        return False
