"""A Prefect server for one run, started while the heavy imports go on, and gone when the run is.

Prefect would start one by itself, but only at the first flow, after importing its server into
this process, with its output on the user's screen, in the user's home and settings, and it
would outlive a run that is killed.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx

from data_specs.errors import PipelineError
from flows.server.configured import configured_url, require_answer
from flows.server.surroundings import (
    bare,
    cache_folder,
    loopback_reached_directly,
    new_folder,
    require_a_home,
    server_environment,
)
from tasks.lineage.progress import notice

if TYPE_CHECKING:
    from prefect.context import SettingsContext

_STARTUP_SECONDS = 120
_PROCESS = Path(__file__).with_name("process.py")
_ERROR_LINE = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit|Timeout|Denied)\b.*|^Killed.*|^MemoryError.*"
)
_PROFILE = "temporary"
_NO_NEWS = ("Application startup failed", "Application shutdown", "Traceback")


class TemporaryServer:
    """A server process on a free port of this machine, with a folder and a database of its own."""

    def __init__(self) -> None:
        """Start the process; `wait` makes sure that it answers."""
        self.folder = new_folder()
        try:
            self._start()
        except BaseException:  # a signal as it starts: the process ends with this one, and has no folder any more
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _start(self) -> None:
        self._log = self.folder / "server.log"
        cache = cache_folder()
        template = str(cache / f"prefect-{version('prefect')}.db") if cache else ""
        # Listened on here, the port cannot go to another process before the server has it.
        with socket.create_server(("127.0.0.1", 0)) as listening, self._log.open("w", encoding="utf-8") as log:
            self._port: int = listening.getsockname()[1]
            arguments = [str(listening.fileno()), str(os.getpid()), str(self.folder), template]
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_PROCESS), *arguments],
                env=server_environment(self.folder),
                cwd=self.folder,
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

    @property
    def api_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}/api"

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
            f"Prefect's temporary server {what}; its last error: {said}; set PREFECT_API_URL to use a server of your own"
        )

    def stop(self) -> None:
        """End the process and remove its folder."""
        self._process.terminate()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def is_temporary() -> bool:
    """Whether what is sent to the server of this run is gone when the run is."""
    from prefect.context import get_settings_context

    return get_settings_context().profile.name == _PROFILE


def last_error(log: str) -> str:
    """What went wrong, from a server's log: its last error, not the server's word that there was one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.match(line)]
    told = [line for line in lines if not any(word in line for word in _NO_NEWS)]
    return (errors or told or ["it said nothing"])[-1]


@contextmanager
def prefect_api() -> Iterator[Callable[[], None]]:
    """Let flows run: against the configured server where there is one, else against a temporary one.

    The block begins while the server still starts, so that imports can go on; the function that
    it is given returns once the server answers, and must be called before the first flow.

    Raises:
        SpecError: the configured server does not answer, or refuses this user.
    """
    require_a_home()
    with loopback_reached_directly() as told:
        url = configured_url()
        if url:
            require_answer(url)
            yield lambda: _tell(told)
            return
        with TemporaryServer() as server, _own_settings(server), _no_events():

            def wait() -> None:
                _tell(told)
                server.wait()

            yield wait


@contextmanager
def _no_events() -> Iterator[None]:
    """Nothing is sent beside the runs themselves: what is still on its way when the server ends keeps a process for minutes."""
    from prefect.events.clients import NullEventsClient
    from prefect.events.worker import EventsWorker

    EventsWorker.set_client_override(NullEventsClient)
    try:
        yield
    finally:
        EventsWorker.set_client_override(None)


def _tell(texts: list[str]) -> None:
    for text in texts:
        notice(text)


def _own_settings(server: TemporaryServer) -> "SettingsContext":
    """Prefect's settings for runs on the server: none of the user's, above all no key and no password."""
    with bare():
        from prefect.context import SettingsContext
        from prefect.settings import Profile, Settings

        settings = Settings.model_validate(
            {
                "home": server.folder,
                "api": {"url": server.api_url},
                # Without heartbeats a flow ends at once; nobody watches for zombies on a server that ends with the run.
                "flows": {"heartbeat_frequency": None},
                # Nobody reads the log of a server that ends with the run.
                "logging": {"to_api": {"enabled": False}},
            }
        )
        return SettingsContext(profile=Profile(name=_PROFILE, settings={}), settings=settings)
