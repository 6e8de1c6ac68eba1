"""What the 512-byte headers of a tar say, and the extended ones that speak of the member after them."""

import re
from dataclasses import dataclass, field

BLOCK = 512
SPARSE = b"S"
# A long name, or pax records; one of a megabyte is made to hurt.
_LARGEST_EXTENSION = 1 << 20
_LONG_NAME, _LONG_LINK, _GLOBAL, _PAX = b"L", b"K", b"g", (b"x", b"X")
EXTENDED = (_LONG_NAME, _LONG_LINK, _GLOBAL, *_PAX)
_OCTAL = re.compile(rb"[0-7]*")
_PAX_LENGTH = re.compile(rb"([1-9][0-9]{0,8}) ")
_DIGITS = re.compile(rb"[0-9]{1,20}")


class ReadError(Exception):
    """What is wrong with a tar as a whole, as the rest of a sentence that starts with its name."""


def padded(size_bytes: int) -> int:
    """The room that so many bytes take in whole blocks."""
    return -(-size_bytes // BLOCK) * BLOCK


def nothing_follows(type: bytes) -> bool:
    """Whether a member of this type has no bytes, whatever size it names: links, devices, folders."""
    return type in (b"1", b"2", b"3", b"4", b"5", b"6")


@dataclass(frozen=True)
class Header:
    """One header whose checksum is right; `size_bytes` is as it stands there, even below 0."""

    name: str
    type: bytes
    size_bytes: int
    sparse_map_goes_on: bool

    @classmethod
    def parse(cls, block: bytes) -> "Header | None":
        """The header in a block; None where its checksum is wrong or a number is none."""
        if len(block) < BLOCK:
            return None
        checksum, size_bytes = _number(block[148:156]), _number(block[124:136])
        if checksum is None or size_bytes is None:
            return None
        rest = block[:148] + block[156:]
        unsigned = 8 * ord(" ") + sum(rest)
        # Some old writers summed signed characters.
        if checksum != unsigned and checksum != unsigned - 256 * sum(byte > 127 for byte in rest):
            return None
        name = _text(block[:100])
        # GNU's headers keep times there.
        if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
            name = f"{prefix}/{name}"
        return cls(name, block[156:157], size_bytes, block[482] != 0)

    def require_size(self, place: int) -> None:
        """Refuse a size that would lead backwards.

        Raises:
            ReadError: it is below 0.
        """
        if self.size_bytes < 0:
            raise ReadError(
                f"is damaged or no tar file: the header at byte {place} claims {self.size_bytes} bytes; pack or fetch it again"
            )

    def extended_bytes(self) -> int:
        """How many bytes of an extended header there are to read.

        Raises:
            ReadError: far more than names and pax records take.
        """
        if self.size_bytes > _LARGEST_EXTENSION:
            raise ReadError(
                f"is damaged or no tar file: an extended header claims {self.size_bytes} bytes, expected at most"
                f" {_LARGEST_EXTENSION}; pack or fetch it again"
            )
        return self.size_bytes


@dataclass
class Said:
    """What extended headers said of the next member."""

    name: str | None = None
    size: int | None = None
    sparse: bool = False
    _types: list[bytes] = field(default_factory=list)

    def add(self, header: Header, data: bytes) -> None:
        """Take in one extended header.

        Raises:
            ReadError: it says what another one said, is damaged, or speaks of all members to come.
        """
        if header.type in self._types:
            raise ReadError("is damaged: its headers form a chain without a member; pack or fetch it again")
        if header.type == _GLOBAL:
            records = _pax_records(data)
            if _sparse(records) or records.keys() & {b"path", b"size"}:
                raise ReadError("has a global header that names or sizes all members; pack or fetch it again")
            return
        self._types.append(header.type)
        if header.type == _LONG_NAME:
            self._rename(_text(data))
        elif header.type in _PAX:
            records = _pax_records(data)
            # Of a sparse file `path` is where its pieces lie.
            name = records.get(b"GNU.sparse.name", records.get(b"path"))
            if name is not None:
                self._rename(name.decode("utf-8", "surrogateescape"))
            if b"size" in records:
                if not _DIGITS.fullmatch(records[b"size"]):
                    raise ReadError(
                        "is damaged or no tar file: a pax record gives a size that is no number; pack or fetch it again"
                    )
                self.size = int(records[b"size"])
            self.sparse = _sparse(records)

    def size_bytes(self, header: Header) -> int:
        """The next member's size."""
        return header.size_bytes if self.size is None else self.size

    def require_nothing_said(self, place: int) -> None:
        """Refuse an end of the tar after an extended header.

        Raises:
            ReadError: the member that it speaks of is missing.
        """
        if self._types:
            raise ReadError(f"ends at byte {place} after an extended header without its member; pack or fetch it again")

    def _rename(self, name: str) -> None:
        if self.name is not None:
            raise ReadError("names a member in two extended headers; pack or fetch it again")
        self.name = name


def _sparse(records: dict[bytes, bytes]) -> bool:
    return any(key.startswith(b"GNU.sparse.") for key in records)


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    records, place = {}, 0
    while place < len(data) and data[place]:
        found = _PAX_LENGTH.match(data, place)
        end = place + int(found.group(1)) if found else 0
        record = data[found.end() : end] if found else b""
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if end > len(data) or not equals or not record.endswith(b"\n"):
            raise ReadError("is damaged or no tar file: a pax header is no list of records; pack or fetch it again")
        records[key] = value
        place = end
    return records


def _number(data: bytes) -> int | None:
    if data[0] in (0x80, 0xFF):
        return int.from_bytes(data[1:], "big") - (256 ** (len(data) - 1) if data[0] == 0xFF else 0)
    digits = data.split(b"\0", 1)[0].strip(b" ")
    return int(digits or b"0", 8) if _OCTAL.fullmatch(digits) else None


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
