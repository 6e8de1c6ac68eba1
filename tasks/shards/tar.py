"""A tar's members, one after the other: the one way in which shards are listed, read and read again.

The standard library's reader goes back, calls itself and makes room as a header asks for, so a kilobyte can hold it
for ever. Here each step goes forward, nothing but the present member is kept, and what two readers would understand
differently is refused.

Source: POSIX.1-2017, pax interchange format; GNU tar manual, "Basic Tar Format".
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tasks.encoders.file_kind import kind_of
from tasks.shards.tar_headers import BLOCK, EXTENDED, SPARSE, Header, ReadError, Said, nothing_follows, padded

FILE = "a file"
DIRECTORY = "a folder"
SPARSE_FILE = "a sparse file"
LINKS = ("a hard link", "a symbolic link")
_KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"5": DIRECTORY, b"1": LINKS[0], b"2": LINKS[1]}
_CHUNK = 1 << 20
_OPENERS: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
    (b"\x5d\0\0\x80", lzma.open),
)
# DEFLATE reaches 1032; pictures are compressed already, and captions give 20.
_LARGEST_EXPANSION = 200
_FREE_EXPANSION = 1 << 30
# Words of `kind_of` that tell a user nothing of what went wrong.
_UNTELLING = ("of no known kind", "text", "a tar archive")

# What reading a damaged tar raises, beside ReadError.
UNREADABLE = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Member:
    """One entry of a tar: its name, what it is (`FILE` or else), and where its bytes lie."""

    name: str
    kind: str
    size_bytes: int
    start: int


class Tar:
    """An open tar, plain or compressed; to be passed over once, each member read before the next one is asked for."""

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Raises:
            OSError: it cannot be opened.
        """
        self._file = path.open("rb")
        try:
            self._stream: IO[bytes] = self._file
            first = self._file.read(BLOCK)
            self._file.seek(0)
            self._path, self._size_bytes = path, path.stat().st_size
            self._limit = self._size_bytes
            self._compressed = False
            for magic, opener in _OPENERS:
                # A plain tar's first member may be named BZh.
                if first.startswith(magic) and Header.parse(first) is None:
                    self._stream, self._compressed = opener(self._file), True
                    self._limit = _FREE_EXPANSION + _LARGEST_EXPANSION * self._size_bytes
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Tar":
        """The tar itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._file.close()

    def __iter__(self) -> Iterator[Member]:
        """Every member in turn, to the end-of-archive mark.

        Raises:
            ReadError: it is cut, damaged or no tar; also what is in UNREADABLE.
        """
        place, said = 0, Said()
        while (header := self._header(place)) is not None:
            place += BLOCK
            if header.type in EXTENDED:
                said.add(header, self._read(place, header.extended_bytes()))
                place += padded(header.size_bytes)
                continue
            sparse = said.sparse or header.type == SPARSE
            if header.type == SPARSE:
                place = self._after_sparse_map(place, header.sparse_map_goes_on)
            size_bytes = 0 if nothing_follows(header.type) else said.size_bytes(header)
            kind = _KINDS.get(header.type, "a device or the like")
            if header.type == b"\0" and header.name.endswith("/"):
                kind = DIRECTORY
            name = said.name or header.name
            self._require_room(place + padded(size_bytes), f"the member {name[:80]!r} claims {size_bytes} bytes")
            yield Member(name, SPARSE_FILE if sparse else kind, size_bytes, place)
            place += padded(size_bytes)
            said = Said()
        said.require_nothing_said(place)

    def read(self, member: Member) -> bytes:
        """A member's bytes."""
        return self._read(member.start, member.size_bytes)

    def _header(self, place: int) -> Header | None:
        self._require_room(place)
        # Never back, which would unpack a compressed tar from its start again.
        if self._stream.tell() < place:
            self._read(place - 1, 1)
        block = self._stream.read(BLOCK)
        header = Header.parse(block) if len(block) == BLOCK else None
        if header is not None:
            header.require_size(place)
            return header
        if place == 0 and (len(block) < BLOCK or any(block)):
            raise ReadError(self._no_tar())
        if len(block) < BLOCK:
            raise ReadError(
                f"is cut short: it ends at byte {place + len(block)} without the end-of-archive mark,"
                " so samples may be missing; pack or fetch it again"
            )
        if any(block):
            raise ReadError(f"has a damaged member header at byte {place}; pack or fetch it again")
        self._require_zeros_after(place)
        return None

    def _no_tar(self) -> str:
        words = "of no known kind" if self._compressed else kind_of(self._path).words
        if words.startswith(_UNTELLING):
            inside = "what it unpacks to" if self._compressed else "it"
            return (
                f"is damaged or no tar file: file could not be opened as one, {inside} starts with no tar header;"
                " pack or fetch it again"
            )
        return f"is {words}; expected a tar file, plain or compressed by gzip, bzip2 or xz"

    def _require_zeros_after(self, place: int) -> None:
        position = place + BLOCK
        while rest := self._stream.read(_CHUNK):
            position += len(rest)
            self._require_room(position)
            if any(rest.strip(b"\0")):
                raise ReadError(
                    f"goes on after an end-of-archive mark at byte {place}, where readers stop: a header was wiped out,"
                    " or tars were joined end to end; pack or fetch it again"
                )

    def _after_sparse_map(self, place: int, goes_on: bool) -> int:
        while goes_on:
            goes_on = self._read(place, BLOCK)[504] != 0
            place += BLOCK
        return place

    def _read(self, place: int, n_bytes: int) -> bytes:
        self._require_room(place + n_bytes)
        if self._stream.tell() != place:
            self._stream.seek(place)
        data = self._stream.read(n_bytes)
        if len(data) < n_bytes:
            raise ReadError("is damaged or no tar file: unexpected end of data; pack or fetch it again")
        return data

    def _require_room(self, end: int, claim: str = "it goes on") -> None:
        if end <= self._limit:
            return
        if self._compressed:
            raise ReadError(
                f"unpacks to more than {self._limit >> 20} MiB, over {_LARGEST_EXPANSION} times its size: {claim};"
                " if that is right, unpack it"
            )
        raise ReadError("is damaged or no tar file: unexpected end of data; pack or fetch it again")


def split_name(name: str) -> tuple[str, str] | tuple[None, None]:
    """A member's key and its ending, cut at the first dot of its base name as webdataset does; None where there is none.

    Webdataset's own takes time with the square of the slashes in a name.
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, ending = base.partition(".")
    return (folder + slash + stem, ending) if stem and dot else (None, None)
