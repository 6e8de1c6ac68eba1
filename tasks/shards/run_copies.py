"""Where the copies of a run's shards lie: with those of the runs beside it, and within a limit with those of earlier ones."""

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from data_specs.fetch_record import FetchRecord
from data_specs.fetching import FetchConfig
from data_specs.run_config import Content
from tasks.lineage.contents import SCRATCH
from tasks.lineage.store import Store
from tasks.shards.copies import SHARED, abandoned, remove_abandoned
from tasks.shards.copy_folder import CopyFolder
from tasks.shards.elsewhere import Elsewhere
from tasks.shards.fetch_records import FetchRecords
from tasks.shards.inspection import Shard

# Of a store: copies that stay for later runs, and records of all that was fetched.
FETCHED = ".fetched"
_RECORDS, _USERS = "records", ".users"
_LOCK = Path(".locks") / "fetched.lock"


class RunCopies:
    """The copies of one run; nothing is made before a shard from elsewhere is asked for.

    Runs on one store that go on at the same time share what each of them fetches. Without a limit the last of them to end
    removes all of it, and the next one what was left by a run that was killed.
    """

    def __init__(self, store: Store, config: FetchConfig) -> None:
        """Keep copies with a store, or in the system's folder for temporary files where the store cannot be written."""
        self._store, self._config = store, config
        self._own: FileLock | None = None
        self._folder: Path | None = None
        self._elsewhere: Elsewhere | None = None

    @property
    def trusted(self) -> dict[str, FetchRecord]:
        """The records of shards that were taken for unchanged on the word of their store, by location."""
        return {} if self._elsewhere is None else self._elsewhere.trusted

    def opened(self, locations: Sequence[str], content: Content | None) -> list[Shard]:
        """Check shards that lie elsewhere, in order; see `Elsewhere.opened`."""
        if not locations:
            return []
        if self._elsewhere is None:
            since = self._join()
            copies = CopyFolder(self._folder or Path(), self._config.limit)
            copies.trim()
            records = FetchRecords(self._store.root / FETCHED / _RECORDS, writes=self._store.root.is_dir())
            self._elsewhere = Elsewhere(copies, records, since=since, trusts_etags=self._config.trust_etag)
        return self._elsewhere.opened(locations, content)

    def close(self) -> None:
        """Let go of the copies, and remove those that nobody keeps."""
        if self._folder is None:
            return
        if self._own is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        with suppress(OSError), self._joining():
            self._own.release()
            Path(self._own.lock_file).unlink(missing_ok=True)
            if self._config.limit is None and not _living(self._folder / _USERS):
                shutil.rmtree(self._folder, ignore_errors=True)

    def _join(self) -> float:
        """Since when what was fetched counts as current: since this run, or the first of those that go on, began."""
        started = time.time()
        self._folder = shared = self._place()
        if self._store.root not in shared.parents:
            return started
        try:
            with self._joining():
                living = _living(shared / _USERS)
                if not living and self._config.limit is None:
                    shutil.rmtree(shared, ignore_errors=True)
                (shared / _USERS).mkdir(parents=True, exist_ok=True)
                name = f"{started:.6f}-{os.getpid()}-{secrets.token_hex(4)}"
                own = FileLock(shared / _USERS / name, thread_local=False, fallback_to_soft=False)
                own.acquire(timeout=0)
        # A disk without locks; where it cannot be written, what is fetched says so.
        except (OSError, NotImplementedError):
            self._folder = shared.with_name(f"{shared.name}-{os.getpid()}")
            return started
        self._own = own
        return min(started, *living) if living else started

    def _place(self) -> Path:
        root = self._store.root
        if not (self._store.makes or root.is_dir()):  # a plan makes no store
            return Path(tempfile.mkdtemp(prefix="uwm-"))
        scratch = self._store.temporary_folder(SHARED)
        remove_abandoned(scratch.parent)
        return scratch if root not in scratch.parents or self._config.limit is None else root / FETCHED

    def _joining(self) -> FileLock:
        return _joining(self._store.root)


def _joining(root: Path) -> FileLock:
    lock = root / _LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock, thread_local=False, fallback_to_soft=False)


def idle_copies(root: Path) -> list[Path]:
    """What lies in the store at `root` of copies that no living process uses, those that are kept for later runs too."""
    with suppress(OSError, NotImplementedError), _joining(root):
        return [*_idle(root)]
    return []


def remove_idle_copies(root: Path) -> None:
    """Remove it; a run that begins meanwhile waits."""
    with suppress(OSError, NotImplementedError), _joining(root):
        for place in _idle(root):
            if place.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink(missing_ok=True)


def _idle(root: Path) -> Iterator[Path]:
    scratch, kept = root / SCRATCH, root / FETCHED
    yield from abandoned(scratch)
    if (scratch / SHARED).is_dir() and not _living(scratch / SHARED / _USERS):
        yield scratch / SHARED
    if kept.is_dir() and not _living(kept / _USERS):
        yield from (place for place in sorted(kept.iterdir()) if place.name not in (_RECORDS, _USERS))


def _living(users: Path) -> list[float]:
    """When the runs began that hold a file here; the files of those that ended somehow go."""
    found = []
    for path in users.iterdir() if users.is_dir() else ():
        lock = FileLock(path, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            found.append(float(path.name.partition("-")[0]))
            continue
        path.unlink(missing_ok=True)
        lock.release()
    return found
