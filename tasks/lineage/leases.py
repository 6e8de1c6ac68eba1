"""Locks of artifacts in the making, by which processes on one store divide the work among them."""

import errno
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef
from tasks.lineage.contents import label_of
from tasks.lineage.disk import refusal

_LOCKS = ".locks"
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP)
_FOR_EVER = -1


class Leases:
    """The locks of a store, a file an artifact; the kernel frees those of a process that ended, however it ended."""

    def __init__(self, root: Path) -> None:
        """Lock in the store at `root`."""
        self._root = root

    def wait(self, ref: ArtifactRef) -> Callable[[], None]:
        """Hold an artifact's lock, in whatever thread, until what is returned is called.

        Raises:
            ArtifactError: the disk cannot be written, or knows no locks.
        """
        return self._acquire(ref, _FOR_EVER)

    def take(self, ref: ArtifactRef) -> Callable[[], None] | None:
        """As `wait`, but None where another process or thread holds the lock."""
        try:
            return self._acquire(ref, 0)
        except Timeout:
            return None

    def is_taken(self, ref: ArtifactRef) -> bool:
        """Whether somebody makes an artifact at this moment."""
        if not self._path(ref).exists():
            return False
        release = self.take(ref)
        if release is not None:
            release()
        return release is None

    def _acquire(self, ref: ArtifactRef, seconds: float) -> Callable[[], None]:
        path = self._path(ref)
        try:
            if not path.parent.exists():  # asking is cheaper than making it
                path.parent.mkdir(parents=True, exist_ok=True)
            # A lock that is nothing but a file would outlive a process that was killed.
            lock = FileLock(path, thread_local=False, fallback_to_soft=False)
            lock.acquire(timeout=seconds)
        except Timeout:
            raise
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise ArtifactError(
                    f"cannot lock {path.parent}: its disk has no file locks; choose another --store"
                ) from error
            raise ArtifactError(refusal(self._root, error.errno or errno.EIO, label_of(ref))) from error
        return lock.release

    def _path(self, ref: ArtifactRef) -> Path:
        return self._root / _LOCKS / f"{ref.version}.lock"
