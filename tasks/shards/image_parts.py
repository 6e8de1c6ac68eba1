"""The parts of an image file, counted before a decoder passes over them one by one."""

import re
import struct

from data_specs.samples import MOST_IMAGE_PARTS, MOST_JPEG_SCANS

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_MARKER = re.compile(rb"\xff([\x01-\xfe])")
_SCAN, _END = 0xDA, 0xD9
# Markers that stand alone: TEM, RST0 to RST7, SOI, EOI.
_ALONE = (0x01, *range(0xD0, 0xDA))


class TooManyParts(Exception):
    """A file of far more parts than encoders write."""


def require_few_parts(data: bytes) -> None:
    """Refuse what would hold a decoder for minutes: millions of empty chunks, segments, filler bytes or scans.

    Raises:
        TooManyParts: the file is a PNG or JPEG of that kind.
    """
    if data.startswith(_PNG):
        _require_few_chunks(data)
    elif data.startswith(_JPEG):
        _require_few_scans(data, _require_few_segments(data))


def _require_few_chunks(data: bytes) -> None:
    place, n_parts = len(_PNG), 0
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IEND":
            return
        place += 12 + length
        n_parts = _counted(n_parts + 1, "chunks")


def _require_few_segments(data: bytes) -> int:
    """Where the first scan begins."""
    place, n_parts = len(_JPEG), 0
    while (found := _MARKER.search(data, place, place + MOST_IMAGE_PARTS + 2)) is not None:
        n_parts = _counted(n_parts + 1 + found.start() - place, "segments and bytes between them")
        if found.group(1)[0] == _SCAN:
            return found.start()
        place = _after(data, found)
    _counted(n_parts + len(data) - place, "segments and bytes between them")
    return len(data)


def _require_few_scans(data: bytes, first: int) -> None:
    # Within pixels 0xFF is followed by 0 or by a restart marker, so most files are told without a walk.
    if data.count(bytes([0xFF, _SCAN]), first) <= MOST_JPEG_SCANS:
        return
    n_scans, n_parts, place = 0, 0, first
    while (found := _MARKER.search(data, place)) is not None and found.group(1)[0] != _END:
        n_scans += found.group(1)[0] == _SCAN
        if n_scans > MOST_JPEG_SCANS:
            raise TooManyParts(f"more than {MOST_JPEG_SCANS} scans, each of which passes over all pixels")
        if found.group(1)[0] not in _ALONE:
            n_parts = _counted(n_parts + 1, "segments")
        place = _after(data, found)


def _after(data: bytes, marker: re.Match[bytes]) -> int:
    place = marker.end()
    return place if marker.group(1)[0] in _ALONE else place + int.from_bytes(data[place : place + 2], "big")


def _counted(n_parts: int, what: str) -> int:
    if n_parts > MOST_IMAGE_PARTS:
        raise TooManyParts(f"more than {MOST_IMAGE_PARTS} {what}")
    return n_parts
