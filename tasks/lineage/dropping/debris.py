"""What killed processes leave in a store beside artifacts: scratch folders, locks, notes of what they used."""

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from data_specs.manifest import ArtifactRef
from tasks.lineage.contents import PRUNED, SCRATCH
from tasks.lineage.finished_parts import PARTS_FOLDER
from tasks.lineage.store import Store

_LOCKS = ".locks"
_REMOVED = (".removed", f".{PRUNED}")


@dataclass(frozen=True)
class Debris:
    """A scratch folder that no process works in and no run would go on with; what it takes on the disk."""

    path: Path
    ref: ArtifactRef
    size_bytes: int


def dead_scratch(store: Store, unfinished_for: float) -> Iterator[Debris]:
    """Scratch folders of artifacts that nobody makes at this moment.

    Args:
        store: where to look.
        unfinished_for: seconds for which work stays that the next run could go on with.
    """
    folder = store.root / SCRATCH
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        ref = _ref_of(path.name)
        if ref is None or store.leases.is_taken(ref):
            continue
        is_done = path.name.endswith(_REMOVED) or store.holds(ref)
        if is_done or not _has_finished_parts(path) or _age(path) > unfinished_for:
            yield Debris(path, ref, size_of(path))


def remove_debris(store: Store, debris: Debris) -> bool:
    """Remove it; False where a process has taken it up meanwhile."""
    release = store.leases.take(debris.ref)
    if release is None:
        return False
    try:
        if debris.path.is_dir():
            shutil.rmtree(debris.path, ignore_errors=True)
        else:
            debris.path.unlink(missing_ok=True)
        return True
    finally:
        release()


def remove_dead_locks(root: Path) -> int:
    """Remove the files of locks that nobody holds; who waits for one meanwhile notices, and makes it anew."""
    n_removed = 0
    folder = root / _LOCKS
    for path in sorted(folder.glob("*.lock")) if folder.is_dir() else []:
        lock = FileLock(path, thread_local=False, fallback_to_soft=False)
        with suppress(Timeout, OSError, NotImplementedError):
            lock.acquire(timeout=0)
            path.unlink(missing_ok=True)
            lock.release()
            n_removed += 1
    return n_removed


def count_dead_locks(root: Path) -> int:
    """How many locks nobody holds."""
    n_dead = 0
    folder = root / _LOCKS
    for path in folder.glob("*.lock") if folder.is_dir() else []:
        lock = FileLock(path, thread_local=False, fallback_to_soft=False)
        with suppress(Timeout, OSError, NotImplementedError):
            lock.acquire(timeout=0)
            lock.release()
            n_dead += 1
    return n_dead


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    total = 0
    for item in files:
        with suppress(OSError):
            total += item.lstat().st_size
    return total


def _ref_of(name: str) -> ArtifactRef | None:
    stem = name
    for ending in _REMOVED:
        stem = stem.removesuffix(ending)
    kind, _, version = stem.rpartition("-")
    try:
        return ArtifactRef(kind=kind, version=version)
    except ValueError:
        return None


def _has_finished_parts(folder: Path) -> bool:
    return any((folder / PARTS_FOLDER).glob("*.json"))


def _age(folder: Path) -> float:
    newest = max((item.lstat().st_mtime for item in [folder, *folder.rglob("*")]), default=0.0)
    return time.time() - newest
