"""Where copies of shards lie for the length of a run, and what is done with those of a process that was killed."""

import shutil
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK = ".lock"
_TRIES = 3
_NAME = "fetched-"


class Copies:
    """A folder of one run. It is locked, since a number of a process says nothing in another container."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, made when it is needed; those beside it that nobody holds are removed."""
        self.folder = folder
        self._lock = FileLock(folder / _LOCK)
        if folder.name.startswith(_NAME):
            for other in folder.parent.glob(f"{_NAME}*"):
                _remove_abandoned(other)

    @staticmethod
    def name(process: int) -> str:
        """What such a folder is called."""
        return f"{_NAME}{process}"

    def hold(self) -> None:
        """Make the folder and lock it; where the disk allows neither, what is written there says so."""
        for _ in range(_TRIES):
            with suppress(OSError, NotImplementedError, Timeout):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock.acquire(timeout=0)
                return

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self._lock.release()


def _remove_abandoned(folder: Path) -> None:
    lock = FileLock(folder / _LOCK)
    with suppress(OSError, NotImplementedError, Timeout):
        lock.acquire(timeout=0)
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
