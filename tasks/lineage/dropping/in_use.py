"""Which artifacts processes use at this moment: each keeps a file of them in the store, locked for as long as it lives."""

import os
import platform
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from filelock import FileLock, Timeout

from data_specs.manifest import ArtifactRef

_USES = ".uses"
_TRIES = 3


class InUse:
    """What one store object has looked up or made; noted before it looks, so that nothing vanishes in between.

    Who drops files says so first and then looks here; who uses them notes it here first and then looks whether they
    were dropped: one of the two always sees the other.
    """

    def __init__(self, root: Path) -> None:
        """Note uses of the store at `root`; the file is made with the first of them."""
        self._root = root
        self._noted: set[ArtifactRef] = set()
        self._guard = threading.Lock()
        self._file: TextIO | None = None
        self._process = os.getpid()
        self.path: Path | None = None
        self._finish: Callable[[], object] = _nothing

    def note(self, ref: ArtifactRef) -> None:
        """Let nobody drop an artifact's files until this object is gone; a store that cannot be written drops none."""
        with self._guard:
            if ref in self._noted and self._process == os.getpid():
                return
            with suppress(OSError, NotImplementedError):
                if self._file is None or self._process != os.getpid():
                    self._file, self._process = self._opened(), os.getpid()
                if self._file is not None:
                    self._file.write(f"{ref.kind}/{ref.version}\n")
                    self._file.flush()
                    self._noted.add(ref)

    def close(self) -> None:
        """Use nothing any more; what is used afterwards is noted anew."""
        with self._guard:
            self._finish()
            self._file, self.path = None, None
            self._noted.clear()

    def _opened(self) -> TextIO | None:
        folder = self._root / _USES
        if not self._root.is_dir():
            return None  # there is nothing in it that could be dropped
        folder.mkdir(exist_ok=True)
        for _ in range(_TRIES):
            path = folder / f"{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"
            lock = FileLock(path, thread_local=False, fallback_to_soft=False)
            lock.acquire(timeout=0)
            file = path.open("a", encoding="utf-8")
            if path.exists():  # else a collector was faster than the lock
                self.path = path
                self._finish = weakref.finalize(self, _end, file, lock, path, os.getpid())
                return file
            file.close()
            lock.release()
        return None

    def __getstate__(self) -> dict[str, Path]:
        """Another process notes its own."""
        return {"root": self._root}

    def __setstate__(self, state: dict[str, Path]) -> None:
        """Begin anew."""
        self.__init__(state["root"])  # type: ignore[misc]


def _nothing() -> None:
    return


def _end(file: TextIO, lock: FileLock, path: Path, process: int) -> None:
    if os.getpid() != process:  # a child that was forked; its parent goes on
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        file.close()
        lock.release()


def used_now(root: Path, besides: InUse | None = None) -> set[ArtifactRef]:
    """What living processes have noted, but for one's own notes; the files of those that were killed are removed."""
    found: set[ArtifactRef] = set()
    own = None if besides is None else besides.path
    for path, lock in _files(root):
        if path == own:
            continue
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with suppress(OSError):
                found.update(_refs_in(path))
            continue
        except (OSError, NotImplementedError):
            continue
        path.unlink(missing_ok=True)
        lock.release()
    return found


def _files(root: Path) -> Iterator[tuple[Path, FileLock]]:
    folder = root / _USES
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        yield path, FileLock(path, thread_local=False, fallback_to_soft=False)


def _refs_in(path: Path) -> Iterator[ArtifactRef]:
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, _, version = line.partition("/")
        with suppress(ValueError):  # a line that is being written
            yield ArtifactRef(kind=kind, version=version)
