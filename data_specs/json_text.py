"""JSON that others wrote: what Python's reader lets pass, or answers with words for programmers, is refused in ours."""

import json
import re
from typing import Any

from data_specs.wording import shown

_DEEPEST = 100
_STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, names a key twice in one object, or is nested or has digits without end; the
            text is short and on one line.
    """
    return json.loads(shallow_json(text), object_pairs_hook=_unique, parse_int=_whole)


def finite_json(text: str | bytes) -> Any:
    """The same for a file whose every number counts: NaN and Infinity, which JSON does not know, are refused.

    Raises:
        ValueError: as `parse_json`, or it holds one of these.
    """
    return json.loads(shallow_json(text), object_pairs_hook=_unique, parse_int=_whole, parse_constant=_refused)


def shallow_json(text: str | bytes) -> str:
    """A JSON text that may be read: of one nested without end the reader is not even begun.

    At the end of Python's stack the collector may run, and what it then ends fails there.

    Raises:
        ValueError: it is nested too deep, or is not of the encoding that it begins with.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode(json.detect_encoding(text), "surrogatepass")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason} at byte {error.start}") from error
    if decoded.count("[") + decoded.count("{") > _DEEPEST and _is_deep(decoded):
        raise ValueError("it is nested too deep")
    return decoded


def _is_deep(text: str) -> bool:
    depth = 0
    for found in _STRINGS_AND_BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > _DEEPEST:
            return True
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {shown(next(name for name in names if names.count(name) > 1))} is given twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > 1000:
        raise ValueError(f"a whole number has {len(digits)} digits")
    return int(digits)


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
