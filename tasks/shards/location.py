"""From the shard names in the settings to local files that can be checked and read."""

import errno
import os
import re
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data_specs.errors import ArtifactError, DataError, SpecError
from data_specs.shard_patterns import expand_braces, glob_marks, literal_pattern
from tasks.lineage.digest import text_sha256
from tasks.lineage.progress import notice
from tasks.shards import command
from tasks.shards.coming import Coming, Fetched, Room
from tasks.shards.command import Command
from tasks.shards.existing_files import matching_files, what_is_there
from tasks.shards.fetching import Answer, ByteSource, NoRest, Rest, Stalled, Transient, Unfetchable, patient_chunks
from tasks.shards.object_store import Filesystem, is_folder, listed
from tasks.shards.wanted import pause
from tasks.shards.web import Web

ATTEMPTS = 3
ATTEMPTS_IF_STALLED = 2
PAUSE_SECONDS = 1.0
_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://|^(pipe):")
COMMAND = "pipe:"
_PIPE, _WEB = "pipe", ("http", "https")
_NUMBER_AT_THE_END = re.compile(r"[-_.]?\d+$")
_SECRET = re.compile(r"(?<=://)[^/@]*@")
_SECRET_VALUE = re.compile(
    r"([?&][^=&#\s]*(?:sig|token|key|secret|password|credential|auth)[^=&#\s]*=)[^&#\s]*", re.IGNORECASE
)
_PAGE = re.compile(rb"\s*<(?:!doctype|html|\?xml|head|body)", re.IGNORECASE)
_LFS_POINTER = b"version https://git-lfs"


def expand_locations(patterns: Sequence[str], *, asks_stores: bool = False) -> list[str]:
    """Expand braces such as `{000000..000007}`, in order, then `*`, `?` and `[ ]` to the files there are, sorted.

    So are they of stores that list what they hold, such as s3://. A `pipe:` command, a web address, and a file of
    that very name, are taken as they are.

    Args:
        patterns: names as the settings give them.
        asks_stores: whether patterns and folders of stores are expanded, too, which takes the network.

    Raises:
        SpecError: a shard is named twice, braces do not close, or there are too many names.
        DataError: a store cannot list what it holds, or nothing of it matches.
    """
    # What is there by that very name, as a shell's * may have found it, is no pattern.
    as_it_is = [pattern.startswith(COMMAND) or os.path.isfile(pattern) for pattern in patterns]  # noqa: PTH113  (never raises)
    meant = [literal_pattern(pattern) if kept else pattern for pattern, kept in zip(patterns, as_it_is, strict=True)]
    seen: dict[str, None] = {}
    for name in expand_braces(meant):
        for location in _meant_by(name, asks_stores=asks_stores):
            if location in seen:
                raise SpecError(f"shard {shown_location(location)[:200]!r} is named twice; name each shard once")
            seen[location] = None
    return list(seen)


def _meant_by(name: str, *, asks_stores: bool) -> list[str]:
    if not is_elsewhere(name):
        return matching_files(name)
    scheme = scheme_of(name)
    if scheme is None or not (asks_stores and is_listed(name)):
        return [name]
    try:
        if glob_marks(name) or name.endswith("/") or is_folder(name, scheme):
            return listed(name, scheme)
    except Unfetchable as error:
        raise DataError(f"shards {shown_location(name)} cannot be listed: {_told(error, name)}") from error
    return [name]


def is_listed(name: str) -> bool:
    """Whether a name may stand for several files of a store that lists what it holds: a pattern, or a folder."""
    scheme = scheme_of(name)
    if scheme is None or scheme in (*_WEB, _PIPE):
        return False
    return bool(glob_marks(name)) or "." not in name.rpartition("/")[2]


def is_elsewhere(location: str) -> bool:
    """Whether a shard must be copied before it is read."""
    return _SCHEME.match(location) is not None


def is_command(location: str) -> bool:
    """Whether a shard is what a command writes: whoever wants it starts the command."""
    return location.startswith(COMMAND)


def scheme_of(location: str) -> str | None:
    """What a URL begins with, `pipe` of a command, None of a path."""
    scheme = _SCHEME.match(location)
    return None if scheme is None else scheme[1] or scheme[2]


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
    if not is_elsewhere(location):
        return _local_file(location)
    copy = folder / f"{text_sha256(location)}.tar"
    fetch(location, copy.with_suffix(".part"), lambda draft, _: draft.replace(copy))
    return copy


def fetch(location: str, draft: Path, keep: Callable[[Path, Fetched], Any], room: Room | None = None) -> Fetched:
    """Bring all bytes of what lies elsewhere into a file.

    Args:
        location: `pipe:COMMAND`, or a URL that httpx or fsspec opens.
        draft: takes what comes; it goes, whatever happens.
        keep: is given the draft when it is complete, to rename it.
        room: is asked before the draft grows.

    Returns:
        Its digest and size.

    Raises:
        DataError: it cannot be fetched in full.
        ArtifactError: it cannot be written.
    """
    folder = draft.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fetched = _fetch(location, draft, room)
        keep(draft, fetched)
    except Unfetchable as error:
        raise DataError(f"shard {shown_location(location)} cannot be fetched: {_told(error, location)}") from error
    except OSError as error:
        raise ArtifactError(
            f"shard {shown_location(location)} cannot be kept in {folder}: {os.strerror(error.errno or errno.EIO)}; make"
            " space or choose another place (--store, for `shards check` TMPDIR) and start the same command again"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()
    return fetched


def fetched_bytes(location: str) -> bytes:
    """What lies elsewhere and is small, such as a list of names.

    Raises:
        DataError: it cannot be fetched in full.
    """
    try:
        with TemporaryDirectory(prefix="uwm-") as folder:
            draft = Path(folder) / "x"
            _fetch(location, draft, None)
            return draft.read_bytes()
    except Unfetchable as error:
        raise DataError(_told(error, location)) from error


def look(location: str) -> Answer:
    """What the source of a shard says of it without giving its bytes; of a command nothing.

    Raises:
        DataError: it cannot be asked, or there is no such file.
    """
    scheme = scheme_of(location)
    if scheme is None or scheme == _PIPE:
        return Answer()
    source = Web(location) if scheme in _WEB else Filesystem(location, scheme)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return source.look()
        except Unfetchable as error:
            if attempt == ATTEMPTS or not isinstance(error, Transient):
                raise DataError(
                    f"shard {shown_location(location)} cannot be asked for: {_told(error, location)}"
                ) from error
            _pause(error, attempt, ATTEMPTS, location)
    return Answer()


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


def _fetch(location: str, draft: Path, room: Room | None) -> Fetched:
    scheme, attempt = scheme_of(location), 1
    with Coming(draft, room) as coming:
        while True:
            try:
                source = _source(location, scheme, coming.rest)
                _take(source, coming, command.SILENCE_SECONDS if scheme == _PIPE else None)
                return coming.end()
            except Transient as error:
                attempts = ATTEMPTS_IF_STALLED if isinstance(error, Stalled) else ATTEMPTS
                if isinstance(error, NoRest):
                    coming.forget()
                attempt = 1 if coming.progressed and coming.rest is not None else attempt
                if scheme == _PIPE or attempt >= attempts:
                    tried = f", {attempt} times" if attempt > 1 else ""
                    raise Unfetchable(f"{error}{tried}") from error
                _pause(error, attempt, attempts, location)
                attempt += 1


def _pause(error: Transient, attempt: int, attempts: int, location: str) -> None:
    seconds = max(PAUSE_SECONDS * 2 ** (attempt - 1), error.seconds)
    told = f"shard {shown_location(location)}: {_told(error, location)}"
    notice(f"{told}; trying again in {seconds:g} s ({attempt + 1} of {attempts})")
    pause(seconds)


def _source(location: str, scheme: str | None, rest: Rest | None) -> ByteSource:
    if scheme == _PIPE:
        return Command(location.removeprefix(COMMAND))
    if scheme in _WEB:
        return Web(location, rest)
    return Filesystem(location, scheme or "", rest)


def _take(source: ByteSource, coming: Coming, patience: float | None) -> None:
    chunks = patient_chunks(source, patience)
    try:
        begun = False
        for item in chunks:
            if isinstance(item, Answer):
                coming.begin(item)
                continue
            if not begun and coming.n_bytes == 0:
                _refuse_page(item)
            begun = True
            coming.add(item)
    finally:
        # Now, not when the generator is collected: that ends a command.
        chunks.close()
        source.close()


def shown_location(location: str) -> str:
    """Where a shard lies, without what gives access to it: names and passwords, signatures and tokens of a URL."""
    if not is_elsewhere(location) or is_command(location):
        return location
    return _SECRET_VALUE.sub(r"\1…", _SECRET.sub("", location))


def _told(error: Unfetchable, location: str) -> str:
    # A client may name the address that it was given.
    told = str(error).replace(location, shown_location(location))
    return _SECRET_VALUE.sub(r"\1…", _SECRET.sub("", told))


def _refuse_page(beginning: bytes) -> None:
    if _PAGE.match(beginning):
        raise Unfetchable("it gives a web page, not a tar file; is the address that of the download, and open to all?")
    if beginning.startswith(_LFS_POINTER):
        raise Unfetchable("it gives a pointer of Git LFS, not the file; use the address of the download")
