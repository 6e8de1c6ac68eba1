"""From the shard names in the settings to local files that can be checked and read."""

import errno
import os
import re
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from data_specs.errors import ArtifactError, DataError, SpecError
from data_specs.shard_patterns import expand_braces, literal_pattern
from tasks.lineage.digest import text_sha256
from tasks.lineage.progress import notice
from tasks.shards import command
from tasks.shards.command import Command
from tasks.shards.existing_files import matching_files, what_is_there
from tasks.shards.fetching import ByteSource, Filesystem, Stalled, Transient, Unfetchable, Web, patient_chunks

ATTEMPTS = 3
ATTEMPTS_IF_STALLED = 2
PAUSE_SECONDS = 1.0
_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://|^(pipe):")
COMMAND = "pipe:"
_NUMBER_AT_THE_END = re.compile(r"[-_.]?\d+$")
_SECRET = re.compile(r"(?<=://)[^/@]*@")
_PAGE = re.compile(rb"\s*<(?:!doctype|html|\?xml|head|body)", re.IGNORECASE)
_LFS_POINTER = b"version https://git-lfs"


def expand_locations(patterns: Sequence[str]) -> list[str]:
    """Expand braces such as `{000000..000007}`, in order, then `*`, `?` and `[ ]` of local names to the files there are, sorted.

    A `pipe:` command, and a file of that very name, are taken as they are.

    Raises:
        SpecError: a shard is named twice, braces do not close, or there are too many names.
    """
    # What is there by that very name, as a shell's * may have found it, is no pattern.
    as_it_is = [pattern.startswith(COMMAND) or os.path.isfile(pattern) for pattern in patterns]  # noqa: PTH113  (never raises)
    meant = [literal_pattern(pattern) if kept else pattern for pattern, kept in zip(patterns, as_it_is, strict=True)]
    seen: dict[str, None] = {}
    for name in expand_braces(meant):
        for location in [name] if is_elsewhere(name) else matching_files(name):
            if location in seen:
                raise SpecError(f"shard {location[:200]!r} is named twice; name each shard once")
            seen[location] = None
    return list(seen)


def is_elsewhere(location: str) -> bool:
    """Whether a shard must be copied before it is read."""
    return _SCHEME.match(location) is not None


def set_of(location: str) -> tuple[str, str]:
    """The folder of a shard and its name without number and ending: shards of one set share both."""
    # What follows a URL's path, such as a signature.
    path = re.sub(r"[?#].*$", "", location) if is_elsewhere(location) else location
    folder, name = os.path.split(path)
    return folder, _NUMBER_AT_THE_END.sub("", os.path.splitext(name)[0])  # noqa: PTH122  (no path of this machine)


def local_copy(location: str, folder: Path) -> Path:
    """A local file with a shard's bytes: the file itself, or a copy of what a URL gives.

    Args:
        location: a path, `pipe:COMMAND`, or a URL that httpx or fsspec opens.
        folder: where copies go.

    Returns:
        The file.

    Raises:
        DataError: it is missing or cannot be fetched in full.
        ArtifactError: the copy cannot be written.
    """
    scheme = _SCHEME.match(location)
    if scheme is None:
        return _local_file(location)
    shown = _SECRET.sub("", location)
    copy = folder / f"{text_sha256(location)}.tar"
    draft = copy.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(location, scheme.group(1) or scheme.group(2), shown, draft)
        draft.replace(copy)
    except Unfetchable as error:
        raise DataError(f"shard {shown} cannot be fetched: {error}") from error
    except OSError as error:
        raise ArtifactError(
            f"shard {shown} cannot be kept in {folder}: {os.strerror(error.errno or errno.EIO)}; make space or choose"
            " another place (--store, for `shards check` TMPDIR) and start the same command again"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()
    return copy


def _local_file(location: str) -> Path:
    try:
        mode = os.stat(location).st_mode  # noqa: PTH116  (a name may hold what Path refuses)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"shard {location} does not exist{what_is_there(location)}; expected a tar file") from None
    except ValueError:
        kind = "is no name of a file"
    except OSError as error:
        kind = f"cannot be read: {error.strerror}"
    else:
        if stat.S_ISREG(mode):
            return Path(location)
        kind = "is a folder" if stat.S_ISDIR(mode) else "is no regular file"
    raise DataError(f"shard {location} {kind}; expected a tar file")


def _fetch(location: str, scheme: str, shown: str, draft: Path) -> None:
    attempt = 1
    while True:
        try:
            _write_once(_source(location, scheme), draft, command.SILENCE_SECONDS if scheme == "pipe" else None)
            return
        except Transient as error:
            attempts = ATTEMPTS_IF_STALLED if isinstance(error, Stalled) else ATTEMPTS
            if scheme == "pipe" or attempt >= attempts:
                tried = f", {attempt} times" if attempt > 1 else ""
                raise Unfetchable(f"{error}{tried}") from error
            pause = PAUSE_SECONDS * 2 ** (attempt - 1)
            attempt += 1
            notice(f"shard {shown}: {error}; trying again in {pause:g} s ({attempt} of {attempts})")
            time.sleep(pause)


def _source(location: str, scheme: str) -> ByteSource:
    if scheme == "pipe":
        try:
            return Command(location.removeprefix(COMMAND))
        except (OSError, ValueError) as error:
            raise Unfetchable(f"its command cannot be started: {error}") from error
    if scheme in ("http", "https"):
        return Web(location)
    return Filesystem(location, scheme)


def _write_once(source: ByteSource, draft: Path, patience: float | None) -> None:
    chunks = patient_chunks(source, patience)
    try:
        with draft.open("wb") as target:
            for number, chunk in enumerate(chunks):
                if number == 0:
                    _refuse_page(chunk)
                target.write(chunk)
    finally:
        # Now, not when the generator is collected: that ends a command.
        chunks.close()
        source.close()


def _refuse_page(beginning: bytes) -> None:
    if _PAGE.match(beginning):
        raise Unfetchable("it gives a web page, not a tar file; is the address that of the download, and open to all?")
    if beginning.startswith(_LFS_POINTER):
        raise Unfetchable("it gives a pointer of Git LFS, not the file; use the address of the download")
