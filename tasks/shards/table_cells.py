"""What a table's cell holds: a text, a key, or a picture as a path, as bytes, or as both."""

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_specs.errors import DataError
from data_specs.wording import shown

_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)
# How base64 of JPEG, PNG and WebP begins; what is this long and has no dot is no file's name.
_BASE64_IMAGE = re.compile(r"(?:/9j/|iVBORw0KGgo|UklGR)[A-Za-z0-9+/\s]{80,}={0,2}\s*")
_EXPECTED = "a path, the bytes of an image file, or {bytes, path}"


def text_of(record: Mapping[str, Any], column: str, place: str) -> str | None:
    """A text; None where the cell is empty.

    Raises:
        DataError: it holds something else.
    """
    value = record[column]
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"{place}, column {column}: got {shown(value)} ({_kind(value)}), expected text or nothing")
    return value if value.strip() else None


def key_of(record: Mapping[str, Any], place: str) -> str:
    """The key; whole numbers are taken, too.

    Raises:
        DataError: it is empty or of another kind.
    """
    value = record["key"]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    key = text_of(record, "key", place)
    if key is None:
        raise DataError(f"{place}, column key: it is empty, expected a name that no other row has")
    return key


def image_of(record: Mapping[str, Any], column: str, place: str, folder: Path) -> Path | bytes | None:
    """A picture: the bytes of its file, or its path, which starts at `folder`; None where the cell is empty.

    Of Hugging Face's {bytes, path} the bytes are taken, and the path where they are null.

    Raises:
        DataError: it holds something else.
    """
    value = record[column]
    where = f"{place}, column {column}"
    if isinstance(value, dict):
        if not value.keys() & {"bytes", "path"}:
            names = shown(list(value))
            raise DataError(f"{where}: got a struct of {names}, expected {_EXPECTED}")
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if value is None:
        return None
    if isinstance(value, str):
        return _named_or_written(value, where, folder)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, list) and value:
        return _from_numbers(value, where)
    raise DataError(f"{where}: got {shown(value)} ({_kind(value)}), expected {_EXPECTED}")


def _named_or_written(value: str, where: str, folder: Path) -> Path | bytes | None:
    if not value.strip():
        return None
    uri = _DATA_URI.match(value)
    if uri is None and not _BASE64_IMAGE.fullmatch(value):
        if value[:5].lower() == "data:":
            raise DataError(f"{where}: got {shown(value)}, a data: URI that is not base64; expected {_EXPECTED}")
        return folder / value
    written = "".join(value[uri.end() if uri else 0 :].split())
    try:
        # Padding may be left out.
        return base64.b64decode(written.rstrip("=") + "=" * (-len(written.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{where}: got {shown(value)}, which is not valid base64: {error}") from error


def _from_numbers(value: list[Any], where: str) -> bytes:
    try:
        return bytes(value)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: got a list of {len(value)}, such as {shown(value[0])}, which are not the bytes of a file (0 to 255);"
            f" expected {_EXPECTED}"
        ) from error


def _kind(value: object) -> str:
    return type(value).__name__
