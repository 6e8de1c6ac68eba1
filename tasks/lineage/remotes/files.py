"""Files under a URL: read, listed and put there whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import fsspec

from data_specs.errors import SpecError
from data_specs.wording import first_line
from tasks.lineage.remotes.address import folder_of
from tasks.lineage.remotes.faults import Refused, Unreachable, asked, has_code

_CONNECT_SECONDS, _READ_SECONDS = 10, 30
_S3 = ("s3", "s3a")
_S3_ATTEMPTS = 2  # of each request, by the library; what fails then is asked again here
_DRAFT = ".draft-"
_EXISTS, _NO_CONDITIONS = ("PreconditionFailed",), ("NotImplemented",)


class RemoteFiles(Protocol):
    """What a remote keeps, by keys with forward slashes; all methods may be called from several threads.

    All raise Refused, or Unreachable.
    """

    def require(self) -> None:
        """Make sure that the place is there and may be looked into."""

    def read(self, key: str) -> bytes | None:
        """A file's content; None where there is none."""

    def size(self, key: str) -> int | None:
        """A file's size in bytes; None where there is none."""

    def fetch(self, key: str, target: Path) -> bool:
        """Copy a file to this machine; False where there is none.

        Raises:
            OSError: the disk here is full.
        """

    def send(self, source: Path, key: str) -> None:
        """Put a file there, in place of what is there; nobody sees a part of it."""

    def write(self, key: str, content: bytes) -> None:
        """Put a small file there, in place of what is there; nobody sees a part of it."""

    def create(self, key: str, content: bytes) -> bool:
        """Put a small file there unless there is one; False where there is, also one of the same moment."""

    def folders(self) -> list[str]:
        """The names of what lies at the top and holds keys."""

    def keys(self, under: str) -> Iterator[str]:
        """All keys below a folder, in no order."""


def open_files(url: str) -> RemoteFiles:
    """The files under a URL; nothing is asked yet.

    Raises:
        SpecError: no library is there for such a URL.
    """
    folder = folder_of(url)
    return FolderFiles(folder) if folder is not None else ObjectFiles(url)


class ObjectFiles:
    """Of an object store, where what is put becomes visible whole; through fsspec."""

    def __init__(self, url: str) -> None:
        """Connects when it is first asked.

        Raises:
            SpecError: fsspec, or its package for this kind of URL, is not there.
        """
        scheme = url.partition("://")[0]
        options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        if scheme in _S3:
            retries = {"mode": "standard", "max_attempts": _S3_ATTEMPTS}
            waits = {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _READ_SECONDS, "retries": retries}
            options["config_kwargs"] = waits
        try:
            self._system, self._root = fsspec.url_to_fs(url, **options)
        except ImportError as error:
            how = "`uv sync --extra s3`" if scheme in _S3 else f"({first_line(error)})"
            raise SpecError(f"remote {url}: {scheme}:// needs packages that are not installed: {how}") from error
        except ValueError as error:
            raise SpecError(f"remote {url}: {first_line(error)}; use s3://bucket/prefix or file:///folder") from error
        self._root = self._root.rstrip("/")
        # One request for a small file; else its size is asked for first.
        self._in_one = {"max_concurrency": 1} if scheme in _S3 else {}
        if scheme in _S3:
            self._system.retries = _S3_ATTEMPTS

    def require(self) -> None:
        """See `RemoteFiles`."""
        with suppress(FileNotFoundError):  # a prefix is made by what is put under it
            asked(lambda: self._system.ls(self._root, detail=False))

    def read(self, key: str) -> bytes | None:
        """See `RemoteFiles`."""
        try:
            content: bytes = asked(lambda: self._system.cat_file(self._path(key), **self._in_one))
        except FileNotFoundError:
            return None
        return content

    def size(self, key: str) -> int | None:
        """See `RemoteFiles`."""
        try:
            found: int | None = asked(lambda: self._system.info(self._path(key)))["size"]
        except FileNotFoundError:
            return None
        return found

    def fetch(self, key: str, target: Path) -> bool:
        """See `RemoteFiles`."""
        try:
            asked(lambda: self._system.get_file(self._path(key), str(target)))
        except FileNotFoundError:
            return False
        return True

    def send(self, source: Path, key: str) -> None:
        """See `RemoteFiles`."""
        asked(lambda: self._system.put_file(str(source), self._path(key)))

    def write(self, key: str, content: bytes) -> None:
        """See `RemoteFiles`."""
        asked(lambda: self._system.pipe_file(self._path(key), content))

    def create(self, key: str, content: bytes) -> bool:
        """See `RemoteFiles`; where the store knows no conditions, one of the same moment wins or loses by chance."""

        def put() -> None:
            try:
                self._system.pipe_file(self._path(key), content, mode="create")
            except OSError as error:
                if has_code(error, _EXISTS):
                    raise FileExistsError(key) from error
                if not has_code(error, _NO_CONDITIONS):
                    raise
                if self._system.exists(self._path(key)):
                    raise FileExistsError(key) from error
                self._system.pipe_file(self._path(key), content)

        try:
            asked(put)
        except FileExistsError:
            return False
        return True

    def folders(self) -> list[str]:
        """See `RemoteFiles`."""
        try:
            found = asked(lambda: self._system.ls(self._root, detail=True))
        except FileNotFoundError:
            return []
        return [item["name"].rstrip("/").rpartition("/")[2] for item in found if item["type"] == "directory"]

    def keys(self, under: str) -> Iterator[str]:
        """See `RemoteFiles`."""
        try:
            found = asked(lambda: self._system.find(self._path(under)))
        except FileNotFoundError:
            return
        for path in found:
            yield path[len(self._root) :].lstrip("/")

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


class FolderFiles:
    """Of a folder, on this machine or mounted: a file is written beside its place and then put there."""

    def __init__(self, root: Path) -> None:
        """Use a folder; only the folder that it lies in must be there."""
        self._root = root
        self._was_there = False

    def require(self) -> None:
        """See `RemoteFiles`."""
        self._require_root()
        self._was_there = os.path.lexists(self._root)
        place = self._root if self._was_there else self._root.parent
        if not place.is_dir():
            raise Refused(
                f"{place} is {'no folder' if os.path.lexists(place) else 'not there'}; make it, or check its name"
            )
        asked(lambda: next(place.iterdir(), None))

    def read(self, key: str) -> bytes | None:
        """See `RemoteFiles`."""
        try:
            return asked((self._root / key).read_bytes)
        except FileNotFoundError:
            self._require_root()
            return None

    def size(self, key: str) -> int | None:
        """See `RemoteFiles`."""
        try:
            return asked((self._root / key).stat).st_size
        except FileNotFoundError:
            self._require_root()
            return None

    def fetch(self, key: str, target: Path) -> bool:
        """See `RemoteFiles`."""
        try:
            asked(lambda: shutil.copyfile(self._root / key, target))
        except FileNotFoundError:
            self._require_root()
            return False
        return True

    def send(self, source: Path, key: str) -> None:
        """See `RemoteFiles`."""
        asked(lambda: self._put(key, lambda draft: shutil.copyfile(source, draft), os.replace))

    def write(self, key: str, content: bytes) -> None:
        """See `RemoteFiles`."""
        asked(lambda: self._put(key, lambda draft: draft.write_bytes(content), os.replace))

    def create(self, key: str, content: bytes) -> bool:
        """See `RemoteFiles`."""
        try:
            asked(lambda: self._put(key, lambda draft: draft.write_bytes(content), _put_new))
        except FileExistsError:
            return False
        return True

    def folders(self) -> list[str]:
        """See `RemoteFiles`."""
        try:
            return [entry.name for entry in asked(lambda: [*os.scandir(self._root)]) if entry.is_dir()]
        except FileNotFoundError:
            return []

    def keys(self, under: str) -> Iterator[str]:
        """See `RemoteFiles`."""
        for folder, _, names in os.walk(self._root / under):
            for name in names:
                if not name.startswith(_DRAFT):
                    yield (Path(folder) / name).relative_to(self._root).as_posix()

    def _require_root(self) -> None:
        """Make sure that a folder which was there has not gone, as one does that is mounted."""
        if self._was_there and not self._root.is_dir():
            raise Unreachable(f"{self._root} is gone")

    def _put(self, key: str, fill: Callable[[Path], object], put: Callable[[Path, Path], None]) -> None:
        target = self._root / key
        draft = target.parent / f"{_DRAFT}{secrets.token_hex(8)}"
        self._require_root()
        target.parent.mkdir(parents=True, exist_ok=True)
        self._was_there = True  # after it is made: another thread may ask meanwhile
        try:
            fill(draft)
            with draft.open("rb") as written:
                os.fsync(written.fileno())
            put(draft, target)
        finally:
            draft.unlink(missing_ok=True)


def _put_new(draft: Path, target: Path) -> None:
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(target) from None
        os.replace(draft, target)
