"""Where a store may lie: in a folder of a local disk, named by a plain path."""

import os
import re
from pathlib import Path

from data_specs.errors import ArtifactError, SpecError

# One slash is enough: `Path` has already folded the two of `s3://`, and `file:/x` is a URL, too.
_URL = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+):/")


def require_local(path: Path | str, what: str) -> None:
    """Refuse a URL, which a file system would take for a folder named `s3:`.

    Args:
        path: what the user gave.
        what: the setting, such as `--store`.

    Raises:
        SpecError: it is a URL.
    """
    url = _URL.match(str(path))
    if url:
        raise SpecError(
            f"{what} is a URL ({url.group(1)}://), expected a folder of a local disk; to use a folder of such a name,"
            " give its absolute path"
        )


def open_root(root: Path | str) -> Path:
    """The absolute path of a store's folder, which need not be there yet.

    Raises:
        SpecError: it is a URL, empty, or no path at all.
        ArtifactError: something else than a folder is there.
    """
    text = str(root)
    require_local(text, "--store")
    if not str(root).strip() or "\0" in text or not _encodable(text):
        raise SpecError(f"--store {text[:80]!r} is no path; expected a folder, in UTF-8")
    try:
        resolved = Path(text).resolve()
        if resolved.is_dir():
            return resolved
        # Of a store that is not there yet, the folder that it will be made in.
        nearest = next(place for place in (resolved, *resolved.parents) if os.path.lexists(place))
        taken = None if nearest.is_dir() else nearest
        dangling = Path(text).is_symlink()
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError up to Python 3.12
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"cannot open the store {text[:80]}: {reason}; choose another with --store") from error
    if taken is not None or dangling:
        wrong = (
            f"{taken} is a file, expected a folder"
            if taken is not None
            else f"it is a link to {resolved}, which is not there"
        )
        raise ArtifactError(f"cannot write to the store {text[:80]}: {wrong}; choose another with --store")
    return resolved


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
