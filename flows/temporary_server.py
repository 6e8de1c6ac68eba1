"""A Prefect server for one run, started while the heavy imports go on, and gone when the run is.

Prefect would start one by itself, but only at the first flow, after importing its server into
this process, with its output on the user's screen, and it would outlive a run that is killed.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from data_specs.errors import PipelineError

_STARTUP_SECONDS = 120
_SERVER_ENVIRONMENT = {
    "PREFECT_UI_ENABLED": "false",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    # Else its telemetry writes to the database at once, and "database is locked" follows.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}


class TemporaryServer:
    """A server process on a free port of this machine, with Prefect's usual database."""

    def __init__(self) -> None:
        """Start the process; `wait` makes sure that it answers."""
        self._port = _free_port()
        self._output = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flows.temporary_server", str(self._port)],
            env={**os.environ, **_SERVER_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def api_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}/api"

    def wait(self) -> None:
        """Return once it answers.

        Raises:
            PipelineError: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + _STARTUP_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{self.api_url}/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        self._output.seek(0)
        said = self._output.read().strip().splitlines()[-1:] or ["nothing"]
        self.stop()
        raise PipelineError(
            f"Prefect's temporary server did not answer within {_STARTUP_SECONDS} s; its last words: {said[0]}; set"
            " PREFECT_API_URL to use a server of your own"
        )

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


@contextmanager
def prefect_api() -> Iterator[Callable[[], None]]:
    """Let flows run: against the configured server where there is one, else against a temporary one.

    The block begins while the server still starts, so that imports can go on; the function that
    it is given returns once the server answers, and must be called before the first flow.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if PREFECT_API_URL.value():
        yield lambda: None
        return
    server = TemporaryServer()
    try:
        # Without heartbeats a flow ends at once; nobody watches for zombies on a server that ends with the run.
        with temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield server.wait
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def _serve(port: int) -> None:
    import uvicorn

    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
