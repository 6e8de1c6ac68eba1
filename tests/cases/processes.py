"""Processes of other programs, and waiting for what they do however slow the machine is."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 600


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], Any]) -> Any:
    """What a condition gives once it holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)
    return found


def lock_holders(store: Path) -> set[int]:
    """The processes that hold a lock of a store at this moment."""
    inodes = {path.stat().st_ino for path in store.glob(".locks/*.lock")}
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" not in line]
    return {int(line[4]) for line in lines if line[1] == "FLOCK" and int(line[5].rpartition(":")[2]) in inodes}


@contextmanager
def killing_one_at_work(store: Path) -> Iterator[list[int]]:
    """SIGKILL to the first other process that holds a part of a store, as its lock tells; whose number is told at the end."""
    killed: list[int] = []

    def kill() -> None:
        killed.append(wait_for(lambda: next(iter(lock_holders(store) - {os.getpid()}), None)))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    yield killed
    killer.join(PATIENCE_SECONDS)
