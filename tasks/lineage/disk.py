"""What the disk under a store refuses, said as the store's error, whichever library met it."""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_specs.errors import ArtifactError, PipelineError, SpecError
from data_specs.wording import shown_path

_FULL = (errno.ENOSPC, errno.EDQUOT)
# As libraries written in Rust, such as safetensors, end their errors.
_IN_TEXT = re.compile(r"\(os error (\d+)\)")


def refused_by_disk(error: BaseException) -> int | None:
    """The system's number of an error of reading or writing files, or of the error behind it; None for any other."""
    for item in behind(error):
        if isinstance(item, OSError) and item.errno is not None:
            return item.errno
        in_text = _IN_TEXT.search(str(item))
        if in_text:
            return int(in_text.group(1))
    return None


@contextmanager
def written_out(out: Path) -> Iterator[None]:
    """Say of what the disk refuses within the block that --out cannot be written; other errors stay as they are.

    Raises:
        SpecError: the disk refuses it.
    """
    try:
        yield
    except Exception as error:
        code = refused_by_disk(error)
        if code is None or isinstance(error, PipelineError):
            raise
        raise SpecError(f"cannot write --out {shown_path(out)}: {os.strerror(code)}") from error


def sync(path: Path | str) -> None:
    """Return when a file, or what a folder says of its entries, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unshare(path: Path) -> None:
    """Give a file that is about to be written in place bytes of its own, where a copy of its folder shares them by hard links."""
    if path.exists() and path.stat().st_nlink > 1:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.copy2(path, draft)
        sync(draft)
        os.replace(draft, path)


def is_full(error: BaseException) -> bool:
    """Whether a disk or a quota is full."""
    return refused_by_disk(error) in _FULL


@contextmanager
def disk_of(root: Path, places: Sequence[Path], what: str) -> Iterator[None]:
    """Turn what the disk refuses within the block into the store's error; other errors pass as they are.

    Args:
        root: the store.
        places: what the block writes below it; an error that names another file is not the store's.
        what: is made meanwhile.

    Raises:
        ArtifactError: there is no space left, or one of the places cannot be used.
    """
    try:
        yield
    except ArtifactError:
        raise
    except Exception as error:
        code = refused_by_disk(error)
        named = _names_one(error, places)
        # An error about data or settings already says what to do, unless it is about a file of the store.
        if code is None or not (named or (code in _FULL and not isinstance(error, PipelineError))):
            raise
        raise ArtifactError(refusal(root, code, what)) from error


def refusal(root: Path, code: int, what: str = "an artifact") -> str:
    """The sentence for an error number."""
    if code in _FULL:
        return (
            f"no space left while {what} was made in the store {root}: {os.strerror(code)}; make space and start the same"
            " command again, it goes on where it was"
        )
    return f"cannot write to the store {root}: {os.strerror(code)}; choose another with --store"


def _names_one(error: BaseException, places: Sequence[Path]) -> bool:
    for item in behind(error):
        names = [str(name) for name in (getattr(item, "filename", None), getattr(item, "filename2", None)) if name]
        text = " ".join([*names, str(item)])
        if any(str(place) in text for place in places):
            return True
    return False


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came of."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
