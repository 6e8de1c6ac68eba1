"""A folder of copies of what lies elsewhere, within bounds: what was used last goes last, and several processes share it."""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path, PosixPath
from typing import IO, Any

from filelock import FileLock, Timeout
from rich.filesize import decimal

from data_specs.errors import DataError, SpecError
from tasks.lineage.digest import text_sha256
from tasks.lineage.progress import notice
from tasks.shards.coming import Fetched
from tasks.shards.location import fetch, is_command, shown_location
from tasks.shards.wanted import is_unwanted, pause, require_wanted

_COPY, _DRAFT = ".tar", ".part"
_LOCKS = ".locks"
_PAUSE_SECONDS = 0.1
# So long room is waited for while readers hold what would have to go; then it goes all the same: an open file stays
# readable, and its bytes are free when it is closed.
_GRACE_SECONDS = 3.0
_TOLD_AFTER_SECONDS = 10.0
_OPEN_TRIES = 5


class NoRoom(Exception):
    """What was to be fetched has no room now, and may have it later."""


@dataclass(frozen=True)
class CopyFolder:
    """Where copies lie, named by the SHA-256 of their bytes; a value that can be sent to another process."""

    folder: Path
    limit_bytes: int | None = None  # of all copies together
    waits: bool = True  # for room, and at last takes it from others; else `NoRoom` is raised where there is none

    def path(self, location: str, sha256: str) -> "KeptCopy":
        """Where the copy of a shard lies, or will lie when it is opened."""
        kept = KeptCopy(self.folder / f"{sha256}{_COPY}")
        kept.folder, kept.location, kept.sha256 = self, location, sha256
        return kept

    def has(self, sha256: str) -> bool:
        """Whether a copy is there."""
        return (self.folder / f"{sha256}{_COPY}").exists()

    def held(self, location: str, sha256: str) -> IO[bytes] | None:
        """A copy, kept as long as what is returned is open; None where it is not there."""
        try:
            return self.path(location, sha256).open_if_there()
        except FileNotFoundError:
            return None

    @contextmanager
    def alone(self, location: str) -> Iterator[None]:
        """Be the only process that fetches a location, for as long as the block lasts; commands are never waited for."""
        with nullcontext() if is_command(location) else self._lock(text_sha256(location)):
            yield

    def bring(self, location: str) -> Fetched:
        """Fetch a location, whether a copy of it is there or not; by who is alone with it.

        Raises:
            DataError: it cannot be fetched in full.
            SpecError: it is larger than all copies together may be.
            ArtifactError: it cannot be written.
        """

        def keep(draft: Path, fetched: Fetched) -> None:
            draft.replace(self.folder / f"{fetched.sha256}{_COPY}")

        def room(draft: Path, n_bytes: int) -> None:
            self._make_room(location, draft, n_bytes)

        name, free = text_sha256(location), self.limit_bytes is None
        if not is_command(location):
            return fetch(location, self.folder / f"{name}{_DRAFT}", keep, None if free else room)
        name = f"{name}-{secrets.token_hex(4)}"
        with self._lock(name):
            return fetch(location, self.folder / f"{name}{_DRAFT}", keep, None if free else room)

    def bring_again(self, location: str, sha256: str) -> None:
        """Fetch what was dropped, or never was here, unless another process has done so.

        Raises:
            DataError: it holds other bytes now; see `bring` for the rest.
        """
        with self.alone(location):
            if self.has(sha256):
                return
            fetched = self.bring(location)
        if fetched.sha256 != sha256:
            raise DataError(
                f"shard {shown_location(location)} changed since it was planned: sha256 {fetched.sha256[:12]}, expected"
                f" {sha256[:12]}; leave shards as they are during a run, and start again"
            )

    def trim(self) -> None:
        """Drop what is more than the limit, but for what is read."""
        if self.limit_bytes is not None and self.folder.is_dir():
            self._try_room(None, 0, self.limit_bytes, held_too=False)

    def _make_room(self, location: str, draft: Path, n_bytes: int) -> None:
        limit = self.limit_bytes or 0
        if n_bytes > limit:
            raise SpecError(
                f"shard {shown_location(location)} has {decimal(n_bytes)} or more, and --fetch-limit is"
                f" {decimal(limit)}; give more than the largest shard, as many times as processes read shards at once"
            )
        start, is_told = time.monotonic(), False
        while not self._try_room(draft, n_bytes, limit, held_too=time.monotonic() - start > _GRACE_SECONDS):
            if not self.waits:
                raise NoRoom
            if not is_told and time.monotonic() - start > _TOLD_AFTER_SECONDS:
                notice(
                    f"shard {shown_location(location)} waits for room: other processes fetch what fills --fetch-limit"
                )
                is_told = True
            pause(_PAUSE_SECONDS)

    def _try_room(self, draft: Path | None, n_bytes: int, limit: int, *, held_too: bool) -> bool:
        with self._lock("room"):
            copies, others = _files(self.folder, _COPY), _files(self.folder, _DRAFT)
            if draft is not None:
                del others[draft]
            excess = n_bytes - limit + sum(size for _, size in (*copies.values(), *others.values()))
            for path, (_, size) in others.items():
                if excess > 0 and self._is_abandoned(path):
                    path.unlink(missing_ok=True)
                    excess -= size
            for although_read in (False, True) if held_too else (False,):
                for path in sorted(copies, key=lambda path: copies[path]):
                    if excess > 0 and _drop(path, although_read=although_read):
                        excess -= copies.pop(path)[1]
            if excess <= 0 and draft is not None:
                os.truncate(draft, n_bytes)  # so that others count it
        return excess <= 0

    def _is_abandoned(self, draft: Path) -> bool:
        lock = FileLock(self.folder / _LOCKS / draft.stem, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        lock.release()
        return True

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        lock = FileLock(self.folder / _LOCKS / name, thread_local=False, fallback_to_soft=False)
        try:
            (self.folder / _LOCKS).mkdir(parents=True, exist_ok=True)
            lock.acquire(cancel_check=is_unwanted)
        except (OSError, NotImplementedError):  # a disk without locks, or one that says more when it is written
            require_wanted()
            yield
            return
        try:
            yield
        finally:
            lock.release()


class KeptCopy(PosixPath):
    """The path of a copy, which is fetched when it is opened and not there, and stays as long as it is open."""

    folder: CopyFolder | None = None
    location: str = ""
    sha256: str = ""

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:  # type: ignore[override]
        """As any path, after fetching.

        Raises:
            DataError: it cannot be fetched, or holds other bytes now.
            SpecError: see `CopyFolder.bring`.
        """
        for _ in range(_OPEN_TRIES if self.folder is not None else 0):
            with suppress(FileNotFoundError):
                return self._held(super().open(mode, *args, **kwargs))
            self._fetch()
        return super().open(mode, *args, **kwargs)

    def open_if_there(self) -> IO[bytes]:
        """As `open`, of what need not be fetched."""
        return self._held(super().open("rb"))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """As any path, after fetching; raises what `open` does."""
        with suppress(FileNotFoundError):
            return super().stat(follow_symlinks=follow_symlinks)
        self._fetch()
        return super().stat(follow_symlinks=follow_symlinks)

    def is_file(self, **_: bool) -> bool:
        """Whether it is there, or may be fetched."""
        return self.folder is not None or Path(self).is_file()

    def __reduce__(self) -> Any:
        """What is sent to another process."""
        return (Path, (str(self),)) if self.folder is None else (self.folder.path, (self.location, self.sha256))

    def with_segments(self, *segments: str) -> Path:
        """A path beside it is any path."""
        return Path(*segments)

    def _fetch(self) -> None:
        if self.folder is not None:
            self.folder.bring_again(self.location, self.sha256)

    def _held(self, file: IO[Any]) -> IO[Any]:
        if self.folder is not None and self.folder.limit_bytes is not None:
            with suppress(OSError):  # a disk without locks
                fcntl.flock(file.fileno(), fcntl.LOCK_SH)
            with suppress(OSError):
                os.utime(self)
        return file


def _files(folder: Path, ending: str) -> dict[Path, tuple[float, int]]:
    """When each file was used last, and its bytes."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(ending):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    found[Path(entry.path)] = status.st_mtime, status.st_size
    return found


def _drop(path: Path, *, although_read: bool) -> bool:
    """Remove a copy, unless somebody reads it."""
    try:
        with path.open("rb") as file:
            if not although_read:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
