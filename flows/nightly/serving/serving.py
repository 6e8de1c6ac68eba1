"""Serving a watch: its deployment on a Prefect server, and the nights that come due, each in a process of its own."""

import asyncio
import multiprocessing
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.logging.handlers import APILogWorker
from prefect.runner import Runner
from prefect.schedules import Cron

from data_specs.errors import PipelineError
from data_specs.wording import first_line, one_line
from flows.nightly.serving.zombies import HEARTBEAT_SECONDS

# Within what a command has for its end.
_STOP_SECONDS = 8.0


@dataclass(frozen=True)
class Served:
    """What is served, and when."""

    name: str  # of the deployment
    cron: str
    timezone: str
    parameters: dict[str, Any]
    description: str | None = None


class NightRunner:
    """Waits for nights that come due and runs them, one after the other; made and used by one thread."""

    def __init__(self, flow: Flow[Any, Any], served: Served, query_seconds: float = 10) -> None:
        """Put the deployment on the server, its schedule on.

        Args:
            flow: that a night is.
            served: what and when.
            query_seconds: between two looks for nights that are due.
        """
        self._runner = Runner(
            name=f"uwm serve {served.name}",
            limit=1,  # what comes due meanwhile waits
            query_seconds=query_seconds,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            # Nobody would come for nights that are due while it is stopped.
            pause_on_shutdown=True,
        )
        add_flow: Any = self._runner.add_flow  # its type takes it for a coroutine's, too
        self._deployment: UUID = add_flow(
            flow,
            name=served.name,
            schedule=Cron(served.cron, timezone=served.timezone),
            parameters=served.parameters,
            description=served.description,
            tags=["uwm"],
            paused=False,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        # A thread that is joined when a signal raises counts as ended from then on (Python 3.11).
        self._over = threading.Event()
        # Not the main thread, where Prefect would take the signals for itself.
        self._thread = threading.Thread(target=self._run, name="nights", daemon=True)

    def ask_now(self) -> str:
        """Ask for a night at once; returns the name of its flow run."""
        with get_client(sync_client=True) as client:
            return client.create_flow_run_from_deployment(self._deployment).name

    def run(self) -> None:
        """Serve until the thread is told to end by an exception, such as a signal's.

        Raises:
            PipelineError: serving ended by itself, such as where the server refuses.
        """
        self._thread.start()
        try:
            while not self._over.wait(0.5):
                pass
        finally:
            self.stop()
        said = "without a word" if self._error is None else one_line(first_line(self._error), 300)
        raise PipelineError(f"serving ended: {said}; start it again, what is due is run then") from self._error

    def stop(self) -> None:
        """End a night that goes on, by SIGTERM and after some seconds by SIGKILL, and switch the schedule off."""
        if not self._over.is_set() and self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._runner.astop(), self._loop)
            self._over.wait(_STOP_SECONDS)
        for process in multiprocessing.active_children():
            process.kill()
        # While there still is a server that takes them.
        drain: Any = APILogWorker.drain_all
        drain(timeout=1)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._over.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._runner.start()


def parameters_of(
    watch: Path, store: dict[str, Any], device: Any, workers: int | None, *, strict: bool
) -> dict[str, Any]:
    """Parameters of `reevaluate` as the server keeps them: the watch by its path, so that its next night reads it anew."""
    given = {"watch": str(watch.absolute()), "store": store, "device": device, "strict": strict}
    return given if workers is None else given | {"workers": workers}
