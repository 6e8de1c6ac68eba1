"""Commands in processes of their own that are forked from one that has imported all they need: they start at once.

For tests of processes that die or share a store. What a command takes from its surroundings as it starts is tested with
`tests.cases.small_run.uwm`.
"""

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cases.processes import PATIENCE_SECONDS
from tests.cases.small_run import environment, prefect_here

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["open_clip", "scipy.stats", "flows.make_safe", "flows.commands.run", "tests.cases.small_run"]
)


@dataclass(frozen=True)
class Forked:
    """A command that goes on, or has ended."""

    process: multiprocessing.process.BaseProcess
    said: Path  # without an end, the files of its standard output and error

    @property
    def pid(self) -> int:
        """Its number."""
        assert self.process.pid is not None
        return self.process.pid

    def poll(self) -> int | None:
        """Its status, once it has ended; minus the signal's number where a signal ended it."""
        return self.process.exitcode

    def kill(self) -> None:
        """SIGKILL, if it has not ended; and wait for its end."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Its status at its end."""
        self.process.join(PATIENCE_SECONDS)
        status = self.process.exitcode
        assert status is not None, f"it goes on: {self.err}"
        return status

    @property
    def out(self) -> str:
        """Its standard output."""
        return self.said.with_suffix(".out").read_text(errors="replace")

    @property
    def err(self) -> str:
        """Its standard error."""
        return self.said.with_suffix(".err").read_text(errors="replace")


def forked(
    *arguments: str, api_url: str, said: Path, cwd: Path | None = None, first: Callable[[], None] | None = None
) -> Forked:
    """Start a command on a Prefect server; it writes to `said` with the ends .out and .err, and calls `first` before."""
    around = environment(api_url)
    process = _CONTEXT.Process(target=_call, args=(arguments, around, said, cwd or Path.cwd(), first))
    process.start()
    return Forked(process, said)


def _call(
    arguments: tuple[str, ...], around: dict[str, str], said: Path, cwd: Path, first: Callable[[], None] | None
) -> None:
    multiprocessing.set_start_method(None, force=True)  # else what the command starts would be forked as it was itself
    gc.freeze()  # what was imported stays; each collection would look through it, and copy it page by page
    from flows.commands.main import main

    for number, end in ((1, ".out"), (2, ".err")):
        file = os.open(said.with_suffix(end), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(around)
    os.chdir(cwd)
    sys.argv = ["uwm", *arguments]
    if first is not None:
        first()
    with prefect_here(around["PREFECT_API_URL"]):
        main()
