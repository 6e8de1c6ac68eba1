"""Where copies of shards lie for the length of a run, and what is done with those of a process that was killed."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK = ".lock"
_TRIES = 3
_NAME = "fetched-"
SHARED = f"{_NAME}shared"  # of all runs; see run_copies


class Copies:
    """A folder of one run. It is locked, since a number of a process says nothing in another container."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, made when it is needed; those beside it that nobody holds are removed."""
        self.folder = folder
        self._lock = FileLock(folder / _LOCK)
        if folder.name.startswith(_NAME):
            remove_abandoned(folder.parent)

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


def remove_abandoned(place: Path) -> None:
    """Remove the folders of runs, of all that lie in a place, that nobody holds."""
    for folder in abandoned(place):
        shutil.rmtree(folder, ignore_errors=True)


def abandoned(place: Path) -> Iterator[Path]:
    """The folders of runs, of all that lie in a place, that nobody holds; each is held while it is looked at."""
    for folder in sorted(place.glob(f"{_NAME}*")):
        if folder.name == SHARED:
            continue
        lock = FileLock(folder / _LOCK)
        with suppress(OSError, NotImplementedError, Timeout):
            lock.acquire(timeout=0)
            yield folder
            lock.release()
