"""Files that fsspec opens: in object stores such as s3://, which need an extra, and wherever else it has a file system for."""

import base64
import errno
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import fsspec

from data_specs.errors import SpecError
from data_specs.shard_patterns import MOST_NAMES, glob_marks
from tasks.shards import fetching
from tasks.shards.fetching import Answer, Rest, Transient, Unfetchable, words_of

_CHUNK = 1 << 18
# Of one request. A block counts as come when all of it is there, and less than 1 kB/s is given up.
_BLOCK = 8 << 20
_S3 = ("s3", "s3a")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_PLAIN_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_OF_DIRECTORIES = "--x-s3"  # ends the name of a bucket whose ETags are no MD5
_PASSING = frozenset(
    {errno.EBUSY, errno.EIO, errno.EAGAIN, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE}
    | {errno.ENETUNREACH, errno.EHOSTUNREACH, getattr(errno, "EREMOTEIO", errno.EIO)}
)
# Of clients that are extras, by name.
_PASSING_KINDS = frozenset(
    {
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.ConnectionError",
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "google.auth.exceptions.TransportError",
    }
)
_NO_CREDENTIALS = "botocore.exceptions.NoCredentialsError"


class Filesystem:
    """A file of a file system that fsspec knows."""

    def __init__(self, url: str, scheme: str, rest: Rest | None = None) -> None:
        """Connects when it is read; `rest` asks for what lacks of a file, if it still is the version that was begun."""
        self._url, self._scheme, self._rest = url, scheme, rest
        self._ended = threading.Event()

    def chunks(self) -> Iterator[Answer | bytes]:
        """What the file system says of the file, and its bytes, as many as it says that there are."""
        with _failures_told(self._scheme):
            system, path = _opened(self._url, self._scheme)
            said = _said(system, path, self._scheme)
            start = self._rest.start if self._rest is not None and self._rest.etag == said.etag else 0
            yield Answer(said.size_bytes, said.etag, said.md5, said.sha256, start)
            with system.open(path, "rb", block_size=_BLOCK) as opened:
                if said.etag != _strong(_etag(getattr(opened, "details", {"etag": said.etag}))):
                    raise Transient("it changed while it was fetched")
                opened.seek(start)
                while not self._ended.is_set() and (chunk := opened.read(_CHUNK)):
                    yield chunk

    def look(self) -> Answer:
        """What the file system says of the file, without its bytes.

        Raises:
            Unfetchable: it cannot be asked, or refuses.
        """
        with _failures_told(self._scheme):
            system, path = _opened(self._url, self._scheme)
            return _said(system, path, self._scheme)

    def close(self) -> None:
        """Stop at the next chunk."""
        self._ended.set()


def listed(url: str, scheme: str) -> list[str]:
    """The files that a URL stands for, sorted: of a folder those that end in `.tar`, of a pattern all that match.

    Raises:
        Unfetchable: there is none, or the store cannot be asked.
        SpecError: there are too many.
    """
    with _failures_told(scheme):
        system, path = _opened(url, scheme)
        inside = "" if glob_marks(path) else "/*.tar"
        found = system.glob(f"{path.rstrip('/')}{inside}", detail=True)
    names = sorted(name for name, info in found.items() if info["type"] == "file")
    if not names:
        raise Unfetchable("no file there ends in .tar" if inside else "no file matches")
    if len(names) > MOST_NAMES:
        raise SpecError(f"shard pattern {url!r} matches {len(names):,} files; expected at most {MOST_NAMES:,}")
    return [str(system.unstrip_protocol(name)) for name in names]


def is_folder(url: str, scheme: str) -> bool:
    """Whether a URL that ends like no file is a folder of the store.

    Raises:
        Unfetchable: the store cannot be asked.
    """
    with _failures_told(scheme):
        system, path = _opened(url, scheme)
        return bool(system.isdir(path))


def _opened(url: str, scheme: str) -> tuple[Any, str]:
    system, path = fsspec.core.url_to_fs(url, **_options(scheme))
    # What was listed a while ago may have been replaced.
    system.invalidate_cache()
    return system, path


def _options(scheme: str) -> dict[str, Any]:
    if scheme not in _S3:
        return {}
    waits = {"connect_timeout": fetching.CONNECT_SECONDS, "read_timeout": fetching.PATIENCE_SECONDS}
    return {"config_kwargs": {**waits, "retries": {"max_attempts": 2}}}


def _said(system: Any, path: str, scheme: str) -> Answer:
    if scheme in _S3:
        return _said_by_s3(system, path)
    info: Mapping[str, Any] = system.info(path)
    if info.get("type") == "directory":
        raise Unfetchable("it is a folder; write a / behind it for the .tar files in it")
    md5 = _from_base64(info.get("md5Hash") or info.get("Content-MD5"), 16)
    return Answer(_size(info.get("size")), _strong(_etag(info)), md5)


def _said_by_s3(system: Any, path: str) -> Answer:
    bucket, key, version = system.split_path(path)
    if not key:
        raise Unfetchable("it names a bucket and no file; write a / behind it for the .tar files in it")
    which = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
    head = system.call_s3("head_object", system.kwargs, **which, ChecksumMode="ENABLED")
    etag = head.get("ETag")
    plain = head.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in head
    found = _PLAIN_MD5.fullmatch(etag or "") if plain and not bucket.endswith(_OF_DIRECTORIES) else None
    return Answer(
        size_bytes=_size(head.get("ContentLength")),
        etag=_strong(etag),
        md5=found[1] if found else None,
        sha256=_from_base64(head.get("ChecksumSHA256"), 32) if head.get("ChecksumType") == "FULL_OBJECT" else None,
    )


def _etag(info: Mapping[str, Any]) -> Any:
    return info.get("ETag") or info.get("etag")


def _size(size: Any) -> int | None:
    return size if isinstance(size, int) else None


def _strong(etag: Any) -> str | None:
    return etag if isinstance(etag, str) and etag.strip('"') and not etag.startswith("W/") else None


def _from_base64(text: Any, n_bytes: int) -> str | None:
    try:
        value = base64.b64decode(text, validate=True) if text else b""
    except (TypeError, ValueError):
        return None
    return value.hex() if len(value) == n_bytes else None


@contextmanager
def _failures_told(scheme: str) -> Iterator[None]:
    try:
        yield
    except (Unfetchable, SpecError):
        raise
    except ImportError as error:
        how = f"`uv sync --extra {_EXTRAS[scheme]}`" if scheme in _EXTRAS else f"({words_of(error)})"
        raise Unfetchable(f"{scheme}:// needs packages that are not installed: {how}") from error
    except FileNotFoundError as error:
        raise Unfetchable("there is no such file; check the address") from error
    except PermissionError as error:
        raise Unfetchable(f"access is refused ({words_of(error)}); check the credentials") from error
    except Exception as error:  # each client raises its own
        raise _in_words(error, scheme) from error


def _in_words(error: Exception, scheme: str) -> Unfetchable:
    if isinstance(error, ValueError) and "Protocol not known" in str(error):
        return Unfetchable(f"{scheme}:// is not known; use a path, http(s)://, s3://, or pipe:COMMAND")
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if _NO_CREDENTIALS in kinds:
        return Unfetchable(f"{words_of(error)}; set them, or FSSPEC_S3_ANON=true for what is open to all")
    number = error.errno if isinstance(error, OSError) else None
    passing = number in _PASSING or isinstance(error, TimeoutError | ConnectionError) or bool(kinds & _PASSING_KINDS)
    return (Transient if passing else Unfetchable)(words_of(error))
