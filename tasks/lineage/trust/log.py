"""The append-only log of a store, `STORE/.log/log.jsonl`: each line holds the hash of the one before it.

Whoever keeps the newest hash elsewhere finds out later whether a line was taken out, changed or put in. A line is on
the disk before the artifact that it tells of is there, so that a process that dies leaves no artifact without a line.
"""

import errno
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from data_specs.errors import ArtifactError
from data_specs.log_entry import NO_ENTRY, LogEntry, LogEvent, LogFact
from data_specs.manifest import ArtifactRef, Manifest
from tasks.lineage.circumstances import now, user_name
from tasks.lineage.contents import manifest_sha256
from tasks.lineage.digest import canonical_json, text_sha256
from tasks.lineage.disk import refusal, sync, unshare
from tasks.lineage.listeners import Listener
from tasks.lineage.listing import artifact_folders

_FOLDER, _FILE, _LOCK = ".log", "log.jsonl", "lock"
_POLL_SECONDS = 0.002  # a line takes about as long
_BLOCK_BYTES = 1 << 13
_LONGEST_TORN = 200


class Log(Listener):
    """The log of a store; any number of processes and threads may write it."""

    def __init__(self, root: Path) -> None:
        """Keep the log of the store at `root`."""
        self._root = root
        self.path = root / _FOLDER / _FILE

    def publishing(self, manifest: Manifest, folder: Path) -> None:
        """Note what is about to be there."""
        self.append([fact_of("made", manifest.ref, manifest_sha256(folder))])

    def arriving(self, manifest: Manifest, folder: Path, source: str) -> None:
        """Note what is about to be there, and where it came from."""
        self.append([fact_of("pulled", manifest.ref, manifest_sha256(folder), source=source)])

    def dropping(self, manifest: Manifest) -> None:
        """Note whose files are about to be dropped."""
        ref = manifest.ref
        self.append([fact_of("pruned", ref, manifest_sha256(self._root / ref.kind / ref.version))])

    def discarding(self, ref: ArtifactRef) -> None:
        """Note what is about to be removed."""
        self.append([fact_of("discarded", ref)])

    def append(self, facts: Sequence[LogFact]) -> None:
        """Write lines; they are on the disk when this returns.

        Raises:
            ArtifactError: the last line is not one of a log, or the disk is full or cannot be written.
        """
        with self._written() as file:
            last, left_out = self._repaired(file)
            before: list[LogFact] = []
            if last is None:
                # Of a store that is older than its log, so that nothing can be put there unseen from now on.
                before = [fact_of("found", ref, digest) for ref, digest in artifacts_there(self._root)]
            if left_out:
                before.append(LogFact(event="repaired", details={"left_out": left_out}))
            entries = _chained([*before, *facts], last)
            _write(file, b"".join(_line_of(entry) + b"\n" for entry in entries))

    def head(self) -> str | None:
        """The newest line's hash, which stands for all before it; None for a log that has not begun.

        Raises:
            ArtifactError: the log cannot be read, or its last line is none.
        """
        try:
            with self.path.open("rb") as file:
                line, _ = _last_line(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ArtifactError(f"cannot read the log {self.path}: {error.strerror or error}") from error
        return self._entry(line).hash if line else None

    @contextmanager
    def _written(self) -> Iterator[BinaryIO]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            begins = not self.path.exists()
            lock = FileLock(self.path.parent / _LOCK, thread_local=False, fallback_to_soft=False)
            with lock.acquire(poll_interval=_POLL_SECONDS):
                unshare(self.path)
                with self.path.open("ab+") as file:
                    yield file
            if begins:
                for folder in (self.path.parent, self._root):
                    sync(folder)
        except OSError as error:
            raise ArtifactError(refusal(self._root, error.errno or errno.EIO, "the log")) from error

    def _repaired(self, file: BinaryIO) -> tuple[LogEntry | None, str]:
        """The last entry, and what was taken away behind it: the beginning of a line of a process that was killed.

        What such a line tells of was not there yet.
        """
        line, torn = _last_line(file)
        last = self._entry(line) if line else None
        if torn and (whole := _complete(torn, last)) is not None:
            _write(file, b"\n")
            return whole, ""
        if torn:
            file.truncate(file.seek(0, os.SEEK_END) - len(torn))
        return last, torn.decode("utf-8", "replace").replace("\0", "")[:_LONGEST_TORN]

    def _entry(self, line: bytes) -> LogEntry:
        try:
            return parse_line(line)
        except ValueError as error:
            raise ArtifactError(
                f"the last line of the log {self.path} is damaged; see `uwm store log --verify`, and put a copy of the log"
                " there, or move it away to have a new one begun"
            ) from error


def fact_of(event: LogEvent, ref: ArtifactRef, digest: str | None = None, **details: str) -> LogFact:
    """That something happened to an artifact, whose manifest has a digest."""
    return LogFact(event=event, kind=ref.kind, version=ref.version, manifest=digest, details=details)


def parse_line(line: bytes) -> LogEntry:
    """An entry from its line, without the end of the line.

    Raises:
        ValueError: it is none, is not written as the log writes, or its hash is not its own.
    """
    entry = LogEntry.model_validate_json(line)
    if _line_of(entry) != line:
        raise ValueError("it is not written as the log writes")
    if hash_of(entry) != entry.hash:
        raise ValueError("its hash is not that of what it says")
    return entry


def hash_of(entry: LogEntry) -> str:
    """What `hash` of an entry must be."""
    return text_sha256(canonical_json(entry.model_dump(mode="json", exclude={"hash"})))


def artifacts_there(root: Path) -> Iterator[tuple[ArtifactRef, str]]:
    """Artifacts of the store at `root` with the digests of their manifests; those without a manifest are left out."""
    for ref, folder in artifact_folders(root):
        try:
            yield ref, manifest_sha256(folder)
        except OSError:
            continue


def _chained(facts: Sequence[LogFact], last: LogEntry | None) -> Iterator[LogEntry]:
    number, previous = (last.number, last.hash) if last else (0, NO_ENTRY)
    user, host = user_name(), platform.node()
    for fact in facts:
        number += 1
        entry = LogEntry(**fact.model_dump(), number=number, time=now(), user=user, host=host, previous=previous)
        previous = hash_of(entry)
        yield entry.model_copy(update={"hash": previous})


def _line_of(entry: LogEntry) -> bytes:
    return canonical_json(entry.model_dump(mode="json")).encode()


def _write(file: BinaryIO, data: bytes) -> None:
    """All of it, on the disk; or nothing, where the disk is full."""
    before = file.seek(0, os.SEEK_END)
    try:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), before)
        raise


def _last_line(file: BinaryIO) -> tuple[bytes, bytes]:
    """The last line that has an end, without it, and what stands behind it."""
    end = file.seek(0, os.SEEK_END)
    start, data = end, b""
    while start and data.count(b"\n") < 2:
        step = min(start, max(_BLOCK_BYTES, len(data)))
        start -= step
        file.seek(start)
        data = file.read(step) + data
    lines, _, torn = data.rpartition(b"\n")
    return lines.rpartition(b"\n")[2], torn


def _complete(torn: bytes, last: LogEntry | None) -> LogEntry | None:
    """The entry of a line that lacks nothing but its end."""
    try:
        entry = parse_line(torn)
    except ValueError:
        return None
    return entry if entry.previous == (last.hash if last else NO_ENTRY) else None
