"""A process beside a run's own: it makes parts on a device of its own, and tells the run of it."""

import logging
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from data_specs.errors import PipelineError
from data_specs.manifest import ArtifactRef
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import listening
from tasks.lineage.store import Store
from tasks.workers.shared_work import SharedWork

Say = Callable[..., None]


@dataclass(frozen=True)
class Job:
    """Some work, and where and how this process does its share."""

    number: int
    work: SharedWork[Any]
    store: Path
    context: RunContext
    threads: int  # that the run computes with, as that may change last digits


class _Told:
    """Progress and log records of this process, sent home."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def start(self, stage: str, total: int | None, unit: str) -> None:
        return

    def advance(self, stage: str, n: int) -> None:
        self._say("advance", stage, n)

    def finish(self, stage: str) -> None:
        return

    def notice(self, text: str) -> None:
        self._say("notice", text)


class _Logged(logging.Handler):
    def __init__(self, say: Say) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say("log", record.name, record.levelno, record.getMessage())


class _Published(set[ArtifactRef]):
    """What this process has made; the run's account is told of each."""

    def __init__(self, say: Say) -> None:
        super().__init__()
        self._say = say

    def add(self, ref: ArtifactRef) -> None:
        super().add(ref)
        self._say("made", ref)


def serve(connection: Connection) -> None:
    """Do one job after the other, until the run that sends them ends, however it does."""
    say, jobs = _sender(connection), _jobs(connection)
    logging.getLogger().addHandler(_Logged(say))
    with listening(_Told(say)):
        while True:
            job = jobs.get()
            try:
                _do(job, say)
            except Exception as error:
                say("end", job.number, _sendable(error), traceback.format_exc())
            else:
                say("end", job.number, None, "")


def _do(job: Job, say: Say) -> None:
    if torch.get_num_threads() != job.threads:  # setting them also ends that MKL takes fewer for small products
        torch.set_num_threads(job.threads)
    store = Store(job.store, hash_once=True)
    store.published = _Published(say)
    job.work.help(store, job.context)


def _sender(connection: Connection) -> Say:
    lock = threading.Lock()

    def say(*message: Any) -> None:
        with lock:
            connection.send(message)

    return say


def _jobs(connection: Connection) -> "queue.SimpleQueue[Job]":
    received: queue.SimpleQueue[Job] = queue.SimpleQueue()

    def receive() -> None:
        try:
            while True:
                received.put(connection.recv())
        except (EOFError, OSError):
            # The run is over. The kernel frees what is locked.
            os._exit(0)

    threading.Thread(target=receive, name="jobs", daemon=True).start()
    return received


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  (its own)
    except Exception:
        return PipelineError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    # Who presses Ctrl-C means the run, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(Connection(int(sys.argv[1])))
