"""A file that is on its way: what came of it so far, and whether that is all of it."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from tasks.shards.fetching import Answer, Rest, Transient, Unfetchable

# Called with a draft and how many bytes it will have at least, before it has them.
Room = Callable[[Path, int], None]
# A connection that brings this before it breaks is worth another one.
_PROGRESS_BYTES = 1 << 20


@dataclass(frozen=True)
class Fetched:
    """A file that came whole, and what its source said of it."""

    sha256: str
    size_bytes: int
    said: Answer


class Coming:
    """A draft that takes what comes; its digests are known when the last byte is."""

    def __init__(self, draft: Path, room: Room | None = None) -> None:
        """Write to `draft`; `room` is asked before it grows."""
        self._draft, self._room = draft, room
        self._file = draft.open("wb")
        self.forget()

    def __enter__(self) -> "Coming":
        """The draft itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    @property
    def rest(self) -> Rest | None:
        """What to ask a source for that can go on; None where it must begin anew."""
        etag = None if self._said is None else self._said.etag
        return Rest(self.n_bytes, etag) if etag is not None and self.n_bytes else None

    @property
    def progressed(self) -> bool:
        """Whether enough came since the source began or went on last."""
        return self.n_bytes - self._since >= _PROGRESS_BYTES

    def forget(self) -> None:
        """Begin anew."""
        self._said: Answer | None = None
        self.n_bytes = self._since = self._reserved = 0
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._file.seek(0)
        if os.fstat(self._file.fileno()).st_size:
            self._file.truncate(0)

    def begin(self, said: Answer) -> None:
        """Take what a source says before its bytes come."""
        if said.start != self.n_bytes:
            self.forget()
        if said.start != self.n_bytes:
            raise Unfetchable(f"it gives byte {said.start} and those behind it, where all were asked for")
        if self._said is not None:  # of a rest less is said than of the whole
            said = replace(said, md5=said.md5 or self._said.md5, sha256=said.sha256 or self._said.sha256)
        self._said, self._since = said, self.n_bytes
        if said.size_bytes is not None:
            self._make_room(said.size_bytes)

    def add(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if self.n_bytes + len(chunk) > self._reserved:
            self._make_room(self.n_bytes + len(chunk))
        self._file.write(chunk)
        self.n_bytes += len(chunk)
        self._sha256.update(chunk)
        if self._said is not None and self._said.md5 is not None:
            self._md5.update(chunk)

    def end(self) -> Fetched:
        """The file, as what its source said it would be.

        Raises:
            Transient: it is cut, or other bytes came; they are forgotten.
        """
        said, sha256 = self._said or Answer(), self._sha256.hexdigest()
        if said.size_bytes is not None and self.n_bytes != said.size_bytes:
            raise Transient(f"{self.n_bytes} of {said.size_bytes} bytes came")
        for name, got, expected in (("MD5", self._md5.hexdigest(), said.md5), ("SHA-256", sha256, said.sha256)):
            if expected is not None and got != expected:
                self.forget()
                raise Transient(f"its bytes came with {name} {got}, but its source says {expected}")
        self._file.flush()
        if self._reserved > self.n_bytes:
            self._file.truncate(self.n_bytes)
        return Fetched(sha256, self.n_bytes, said)

    def _make_room(self, n_bytes: int) -> None:
        self._reserved = n_bytes
        if self._room is not None:
            self._file.flush()
            self._room(self._draft, n_bytes)
