"""Where events go: a file, or what OpenLineage's own variables say; a collector that is down never breaks a run."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_specs.errors import SpecError
from data_specs.wording import first_line, one_line
from tasks.lineage.progress import notice

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

EVENTS_FILE = "UWM_OPENLINEAGE_FILE"
_URL, _ENDPOINT, _API_KEY, _CONFIG = (f"OPENLINEAGE_{name}" for name in ("URL", "ENDPOINT", "API_KEY", "CONFIG"))
_DISABLED, _OF_TRANSPORT = "OPENLINEAGE_DISABLED", "OPENLINEAGE__TRANSPORT__"
_TIMEOUT_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 30.0
# A retry within a request would hold the run up.
_NO_RETRIES = {"total": 0, "connect": 0, "read": 0}


def is_openlineage_asked() -> bool:
    """Whether the environment says where events shall go."""
    if os.environ.get(_DISABLED, "").strip().lower() == "true":
        return False
    named = any(os.environ.get(variable) for variable in (EVENTS_FILE, _URL, _CONFIG))
    return named or any(variable.startswith(_OF_TRANSPORT) for variable in os.environ)


class Sender:
    """Sends events one after the other, and gives a collector that does not answer a longer and longer rest."""

    def __init__(self) -> None:
        """Send where the environment says.

        Raises:
            SpecError: OpenLineage's client is not installed, or what the environment says is no place for events.
        """
        try:
            from openlineage.client import OpenLineageClient

            with _environment_kept():
                self._client = OpenLineageClient(transport=_transport())
        except ImportError as error:
            raise SpecError(
                f"OpenLineage's client is not installed ({first_line(error)}); add it with `uv sync --extra openlineage`"
            ) from error
        except Exception as error:  # whatever its configuration raises
            raise SpecError(
                f"OpenLineage cannot be set up: {one_line(first_line(error), 300)}; see {_URL}, {EVENTS_FILE} and {_CONFIG}"
            ) from error
        self._lock = threading.Lock()
        self._pause, self._not_before, self._n_lost = _FIRST_PAUSE_SECONDS, 0.0, 0

    def send(self, event: "RunEvent") -> None:
        """Send an event; what goes wrong is a notice."""
        with self._lock:
            if time.monotonic() < self._not_before:
                self._n_lost += 1
                return
            try:
                self._client.emit(event)
            except Exception as error:  # of the collector, the network, the disk
                self._n_lost += 1
                self._not_before = time.monotonic() + self._pause
                notice(
                    f"OpenLineage: an event was not taken ({one_line(first_line(error), 200)}); the run goes on, and the next"
                    f" is tried in {self._pause:.0f} s"
                )
                self._pause *= 2
            else:
                if self._n_lost:
                    notice(f"OpenLineage: events are taken again; {self._n_lost} were lost")
                self._pause, self._n_lost = _FIRST_PAUSE_SECONDS, 0


@contextmanager
def _environment_kept() -> Iterator[None]:
    """The client writes variables of its own for an address, by which every child would be asked for events, too."""
    before = {name: value for name, value in os.environ.items() if name.startswith(_OF_TRANSPORT)}
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith(_OF_TRANSPORT)]:
            del os.environ[name]
        os.environ.update(before)


def _transport() -> Any:
    """None where OpenLineage's own configuration says more than an address."""
    if os.environ.get(EVENTS_FILE):
        from openlineage.client.transport.file import FileConfig, FileTransport

        # A line an event, whoever writes: short lines are appended whole.
        return FileTransport(FileConfig(log_file_path=str(Path(os.environ[EVENTS_FILE]).absolute()), append=True))
    if os.environ.get(_CONFIG) or any(variable.startswith(f"{_OF_TRANSPORT}TYPE") for variable in os.environ):
        return None
    url = os.environ.get(_URL)
    if not url:
        return None
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    given = {"url": url, "timeout": _TIMEOUT_SECONDS, "retry": _NO_RETRIES}
    if os.environ.get(_ENDPOINT):
        given["endpoint"] = os.environ[_ENDPOINT]
    if os.environ.get(_API_KEY):
        given["auth"] = {"type": "api_key", "apiKey": os.environ[_API_KEY]}
    return HttpTransport(HttpConfig.from_dict(given))
