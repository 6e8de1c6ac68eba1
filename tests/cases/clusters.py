"""Clusters of Dask and Ray that are there before a run, as processes of this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.cases.places import ROOT
from tests.cases.processes import wait_for

_LOOPBACK = "127.0.0.1"
_PROGRAMS = Path(sys.executable).parent


@contextmanager
def dask_cluster(folder: Path) -> Iterator[str]:
    """The address of a scheduler with two workers of one thread each."""
    said = folder / "scheduler.json"
    here = ["--host", _LOOPBACK, "--no-dashboard", "--scheduler-file", str(said)]
    worker = [*here, "--no-nanny", "--nthreads", "1", "--local-directory", str(folder)]
    with ExitStack() as ended:
        ended.enter_context(_running([str(_PROGRAMS / "dask"), "scheduler", "--port", "0", *here], folder))
        wait_for(said.is_file)
        for _ in range(2):
            ended.enter_context(_running([str(_PROGRAMS / "dask"), "worker", *worker], folder))
        from distributed import Client

        with Client(scheduler_file=str(said), set_as_default=False) as client:
            client.wait_for_workers(2)
            address = str(client.scheduler.address)
        yield address


@contextmanager
def ray_cluster(folder: Path) -> Iterator[str]:
    """The address of a head with two processors."""
    with socket.create_server((_LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    command = [str(_PROGRAMS / "ray"), "start", "--head", "--block", "--port", str(port), "--num-cpus", "2"]
    options = ["--node-ip-address", _LOOPBACK, "--include-dashboard", "false", "--object-store-memory", str(100 << 20)]
    with _running([*command, *options, "--disable-usage-stats"], folder) as said:
        wait_for(lambda: "Ray runtime started" in said.read_text())
        yield f"{_LOOPBACK}:{port}"


@contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[Path]:
    around = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    with (folder / "said.txt").open("ab") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=around, stdout=said, stderr=said, start_new_session=True)
        try:
            yield folder / "said.txt"
        finally:
            process.terminate()
            process.wait(600)
