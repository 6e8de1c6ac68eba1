"""From the shard names in the settings to local files that can be checked and read."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import braceexpand
import fsspec

from data_specs.errors import DataError, SpecError
from tasks.lineage.digest import text_sha256

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://|^(pipe):")
_COMMAND = "pipe:"


def expand_locations(patterns: Sequence[str]) -> list[str]:
    """Expand braces such as `{000000..000007}`, in order; a `pipe:` command, and a file of that very name, are taken as they are.

    Raises:
        SpecError: a shard is named twice, or braces do not close.
    """
    expanded: list[str] = []
    for pattern in patterns:
        try:
            # What is there by that very name, as a shell's * may have found it, is no pattern.
            as_it_is = pattern.startswith(_COMMAND) or os.path.isfile(pattern)  # noqa: PTH113  (never raises)
            expanded.extend([pattern] if as_it_is else braceexpand.braceexpand(pattern))
        except ValueError as error:
            raise SpecError(f"shard pattern {pattern!r} has braces that do not close") from error
    seen: set[str] = set()
    for location in expanded:
        if location in seen:
            raise SpecError(f"shard {location!r} is named twice; name each shard once")
        seen.add(location)
    return expanded


def local_copy(location: str, folder: Path) -> Path:
    """A local file with a shard's bytes: the file itself, or a copy of what a URL gives.

    Args:
        location: a path, `pipe:COMMAND`, or a URL that webdataset or fsspec opens.
        folder: where copies go.

    Returns:
        The file.

    Raises:
        DataError: it is missing or cannot be fetched in full.
    """
    scheme = _SCHEME.match(location)
    if scheme is None:
        path = Path(location)
        if not path.is_file():
            kind = "is a folder" if path.is_dir() else "does not exist"
            raise DataError(f"shard {location} {kind}; expected a tar file")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{text_sha256(location)}.tar"
    draft = copy.with_suffix(".part")
    try:
        with _open_remote(location, scheme.group(1) or scheme.group(2)) as source, draft.open("wb") as target:
            shutil.copyfileobj(source, target, length=1 << 20)
    except Exception as error:  # each transport raises its own
        draft.unlink(missing_ok=True)
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"shard {location} cannot be fetched: {reason}") from error
    draft.replace(copy)
    return copy


def _open_remote(location: str, scheme: str) -> IO[bytes]:
    from webdataset.gopen import gopen, gopen_schemes

    if scheme in gopen_schemes:
        stream: IO[bytes] = gopen(location)
        return stream
    opened: IO[bytes] = fsspec.open(location, "rb").open()
    return opened
