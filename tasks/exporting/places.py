"""Where things of a model lay, as far as a card may tell: a hub's name, or the last part of a path."""

import re
from pathlib import PurePosixPath

from data_specs.run_config import HUB

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_CACHED = re.compile(r"models--([^/]+?)--([^/]+)")


def hub_name(source: str) -> str | None:
    """The hub's name of weights, where what they were loaded from says it: a name, or a place in the hub's cache.

    Args:
        source: as a manifest names it, such as `hf-hub:ORG/NAME` or a path.

    Returns:
        `ORG/NAME`, or None.
    """
    if source.startswith(HUB):
        name = source.removeprefix(HUB)
        return name if HUB_NAME.fullmatch(name) else None
    cached = (_CACHED.fullmatch(part) for part in PurePosixPath(source).parts)
    names = (f"{found[1]}/{found[2]}" for found in cached if found)
    return next((name for name in names if HUB_NAME.fullmatch(name)), None)
