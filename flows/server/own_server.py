"""A Prefect server that a process starts for itself and that ends with it."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx

from data_specs.errors import PipelineError

_STARTUP_SECONDS = 120
_PROCESS = Path(__file__).with_name("process.py")
_ERROR_LINE = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit|Timeout|Denied)\b.*|^Killed.*|^MemoryError.*"
)
_NO_NEWS = ("Application startup failed", "Application shutdown", "Traceback")


class OwnServer:
    """A server process of this machine that ends with the process that started it; see its two kinds."""

    kind = "own"
    lasts = False  # whether folder and database stay when it ends

    def __init__(self, folder: Path, environment: Mapping[str, str], *, template: str = "", port: int = 0) -> None:
        """Start the process; `wait` makes sure that it answers.

        Args:
            folder: its own, for database and log.
            environment: of the process.
            template: path of a database without content, to copy and to keep for the next; empty: make one.
            port: 0 is any that is free.

        Raises:
            OSError: the port is taken, or no process can be started.
        """
        self.folder = folder
        self._log = folder / "server.log"
        # Listened on here, the port cannot go to another process before the server has it.
        with socket.create_server(("127.0.0.1", port)) as listening, self._log.open("w", encoding="utf-8") as log:
            self.port: int = listening.getsockname()[1]
            arguments = [str(listening.fileno()), str(os.getpid()), str(folder), template]
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_PROCESS), *arguments, *(["lasts"] if self.lasts else [])],
                env={**environment, **self.told_of_port()},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(listening.fileno(),),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def told_of_port(self) -> dict[str, str]:
        """Variables of the process that depend on its port."""
        return {}

    @property
    def api_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}/api"

    def wait(self) -> None:
        """Return once it answers.

        Raises:
            PipelineError: it ended, or did not answer in time.
        """
        start = time.monotonic()
        with httpx.Client(trust_env=False, timeout=5) as client:
            while time.monotonic() - start < _STARTUP_SECONDS and self._process.poll() is None:
                try:
                    if client.get(f"{self.api_url}/health").status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
        ended = self._process.poll()
        what = f"did not answer within {_STARTUP_SECONDS} s" if ended is None else f"ended with status {ended}"
        said = last_error(self._log.read_text(encoding="utf-8", errors="replace"))
        self.stop()
        raise PipelineError(
            f"Prefect's {self.kind} server {what}; its last error: {said}; set PREFECT_API_URL to use a server of your own"
        )

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def last_error(log: str) -> str:
    """What went wrong, from a server's log: its last error, not the server's word that there was one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.match(line)]
    told = [line for line in lines if not any(word in line for word in _NO_NEWS)]
    return (errors or told or ["it said nothing"])[-1]
