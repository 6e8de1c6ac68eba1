"""The processes of this machine that help a run to make parts, one a device."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import advance, notice
from tasks.lineage.store import Store
from tasks.workers.process import Job
from tasks.workers.shared_work import Given, SharedWork

# A part that kills whoever makes it comes to this process in the end, which then ends as it would alone.
_MOST_STARTS = 3
_END_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_ROOT = Path(__file__).resolve().parents[2]


class LocalWorkers:
    """Worker processes, started when there is the first work for them, kept with their models until the run ends."""

    def __init__(self, devices: Sequence[str]) -> None:
        """Use `devices` beside the one of this process."""
        self._workers = [_Worker(device) for device in devices]
        self._n_jobs = 0

    def make(self, shared: SharedWork[Given], loaded: Given, store: Store, context: RunContext) -> None:
        """Do some work together with all workers, until nothing is left of it.

        Raises:
            PipelineError: what this process or a worker met.
        """
        self._n_jobs += 1
        work = shared.sendable()
        for worker in self._workers:
            own = replace(context, device=worker.device, runner=None)
            worker.send(Job(self._n_jobs, work, store.root, own, torch.get_num_threads()), store)
        shared.make(loaded, store, context, self.check)
        self.wait()

    def check(self) -> None:
        """Take in what workers have told so far, and raise what one met, as if this process had met it.

        Raises:
            PipelineError: a shard, the settings or the store are wrong.
        """
        for worker in self._workers:
            worker.take_all()
            worker.check()

    def wait(self) -> None:
        """Wait until all workers have come to the end of what was started.

        Raises:
            PipelineError: see `check`.
        """
        for worker in self._workers:
            while not worker.idle.wait(0.1):
                self.check()
        self.check()

    def close(self) -> None:
        """End all workers, whatever they are at."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.end()


class _Worker:
    """One process and its thread here, which hears it."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.idle = threading.Event()
        self.idle.set()
        self._job: Job | None = None
        self._store: Store | None = None
        self._error: tuple[Exception, str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None
        self._n_starts = 0
        self._stopped = False
        self._lock = threading.Lock()  # of what is changed when the process dies
        self._hearing = threading.Lock()  # of the receiving end

    def send(self, job: Job, store: Store) -> None:
        with self._lock:
            if self._stopped or (self._connection is None and not self._may_start()):
                return
            self._job, self._store = job, store
            self.idle.clear()
            if self._connection is None:
                self._begin()
            else:
                self._hand_over()

    def take_all(self) -> None:
        connection = self._connection
        if connection is not None:
            with suppress(EOFError, OSError):  # it died; `_hear` finds out
                self._take_from(connection)

    def check(self) -> None:
        if self._error is not None:
            error, trace = self._error
            raise error from RuntimeError(f"in the worker on {self.device}:\n{trace}")

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._process is not None:
                _signal(self._process, signal.SIGTERM)

    def end(self) -> None:
        if self._process is not None:
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                _signal(self._process, signal.SIGKILL)
                self._process.wait()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _may_start(self) -> bool:
        return self._n_starts < _MOST_STARTS

    def _begin(self) -> None:
        self._n_starts += 1
        here, there = Pipe()
        paths = [str(_ROOT), *filter(None, sys.path)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tasks.workers.process", str(there.fileno())],
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))},
            process_group=0,
        )
        there.close()
        self._connection = here
        self._hand_over()
        self._thread = threading.Thread(target=self._hear, args=(here, self._process), name="worker", daemon=True)
        self._thread.start()

    def _hand_over(self) -> None:
        with suppress(OSError):  # it died; `_hear` finds out
            if self._connection is not None:
                self._connection.send(self._job)

    def _hear(self, connection: Connection, process: "subprocess.Popen[bytes]") -> None:
        with connection, suppress(EOFError, OSError):
            # The processes that decode for a worker hold its end of the line open for some seconds after its death.
            while connection.poll(_LOOK_SECONDS) or not _has_ended(process):
                self._take_from(connection)
        self._died(process)

    def _take_from(self, connection: Connection) -> None:
        with self._hearing:
            while connection.poll():
                self._take(*connection.recv())

    def _take(self, what: str, *told: Any) -> None:
        if what == "advance":
            advance(*told)
        elif what == "notice":
            notice(*told)
        elif what == "log":
            name, level, text = told
            logging.getLogger(name).log(level, "%s: %s", self.device, text)
        elif what == "made" and self._store is not None:
            self._store.published.add(*told)
        elif what == "end":
            number, error, trace = told
            with self._lock:
                if self._job is not None and number == self._job.number:
                    if error is not None:
                        self._error = error, trace
                    self._job = None
                    self.idle.set()

    def _died(self, process: "subprocess.Popen[bytes]") -> None:
        _signal(process, signal.SIGKILL)
        status = process.wait()
        with self._lock:
            self._connection = None
            if self._stopped or self._job is None:
                self.idle.set()
                return
            again = self._may_start()
            then = "it is started again" if again else "the others go on without it"
            notice(f"a worker on {self.device} died ({_how(status)}); what it was at is made again, and {then}")
            if again:
                self._begin()
            else:
                self._job = None
                self.idle.set()


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    """To a process that was not waited for, so that its number is still its own, and to those that decode for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _how(status: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-status).name
    return f"exit status {status}"
