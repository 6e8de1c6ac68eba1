"""JSON that others wrote: what Python's reader lets pass, or answers with words for programmers, is refused in ours."""

import json
from typing import Any

from data_specs.wording import shown


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, names a key twice in one object, or is nested or has digits without end; the
            text is short and on one line.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason} at byte {error.start}") from error


def finite_json(text: str | bytes) -> Any:
    """The same for a file whose every number counts: NaN and Infinity, which JSON does not know, are refused.

    Raises:
        ValueError: as `parse_json`, or it holds one of these.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_int=_whole, parse_constant=_refused)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


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
