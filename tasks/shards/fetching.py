"""Bytes of a shard from elsewhere, with bounded patience: http(s), what fsspec opens, and the output of a command."""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Generator, Iterator
from functools import cache
from typing import Any, Protocol

import fsspec
import httpx

from data_specs.wording import first_line
from tasks.lineage.disk import behind

CONNECT_SECONDS = 10.0
# A source that gives less than this in so many seconds is given up.
PATIENCE_SECONDS = 60.0
LEAST_BYTES_PER_SECOND = 1000
_AHEAD = 8
_CHUNK = 1 << 18
_MOST_REDIRECTS = 10
_LONGEST_REASON = 200
_OFTEN_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_STATUS = {
    401: "it asks for a name and a password or a token",
    403: "it refuses access; an address that was signed may have run out",
    404: "there is no such file; check the address",
    407: "the proxy asks for a password; see HTTPS_PROXY",
    410: "the file is gone",
    416: "it does not give that part of the file",
    429: "it was asked too often; try later",
}


class Unfetchable(Exception):
    """Why a shard cannot be had, as a part of a sentence."""


class Transient(Unfetchable):
    """A reason that may be gone a moment later."""


class Stalled(Transient):
    """Nothing, or next to nothing, came for too long."""


class ByteSource(Protocol):
    """Something that gives bytes."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes in order; ends only where they are complete."""

    def close(self) -> None:
        """Let go of what it holds; called from another thread than `chunks`."""


def patient_chunks(source: ByteSource, patience: float | None = None) -> Generator[bytes, None, None]:
    """What a source gives, as long as it gives enough.

    The source is read in a thread of its own: whatever it waits in, a look-up of a name, a handshake or
    headers that drip, this one counts the time and can be interrupted.

    Raises:
        Unfetchable: the source fails, or stalls.
    """
    patience = PATIENCE_SECONDS if patience is None else patience
    got: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
    ended = threading.Event()
    threading.Thread(target=_pump, args=(source, got, ended), name="fetch", daemon=True).start()
    try:
        since, n_bytes = time.monotonic(), 0
        while True:
            left = since + patience - time.monotonic()
            if left <= 0:
                if n_bytes < LEAST_BYTES_PER_SECOND * patience:
                    raise Stalled(f"only {n_bytes} bytes came in {patience:g} s" if n_bytes else _silent(patience))
                since, n_bytes = time.monotonic(), 0
                continue
            try:
                item = got.get(timeout=left)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            n_bytes += len(item)
            yield item
    finally:
        ended.set()
        source.close()


def _silent(patience: float) -> str:
    return f"nothing came for {patience:g} s"


def _pump(source: ByteSource, got: "queue.Queue[bytes | BaseException | None]", ended: threading.Event) -> None:
    def put(item: bytes | BaseException | None) -> bool:
        while not ended.is_set():
            try:
                got.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    try:
        for chunk in source.chunks():
            if not put(chunk):
                return
        put(None)
    except Unfetchable as error:
        put(error)
    except BaseException as error:  # each transport raises its own
        put(Unfetchable(_why(error)))


class Web:
    """A file on a web server; proxies and certificates as the environment says."""

    def __init__(self, url: str) -> None:
        """Connects when it is read."""
        self._url = url
        self._ended = threading.Event()

    def chunks(self) -> Iterator[bytes]:
        """The body, complete by its length or its last chunk."""
        try:
            timeout = httpx.Timeout(PATIENCE_SECONDS, connect=CONNECT_SECONDS)
            with (
                httpx.Client(
                    verify=_certificates(), timeout=timeout, follow_redirects=True, max_redirects=_MOST_REDIRECTS
                ) as client,
                client.stream("GET", self._url, headers={"Accept-Encoding": "identity"}) as response,
            ):
                _require_success(response)
                for chunk in response.iter_bytes():
                    if self._ended.is_set():
                        return
                    yield chunk
        except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError, OSError) as error:
            raise _as_unfetchable(error, self._url) from error

    def close(self) -> None:
        """Stop at the next chunk."""
        self._ended.set()


@cache
def _certificates() -> ssl.SSLContext:
    # Those of the system, too: a company's own are there.
    context = httpx.create_ssl_context()
    context.load_default_certs()
    return context


def _require_success(response: httpx.Response) -> None:
    status = response.status_code
    if status in (200, 203):
        return
    why = _STATUS.get(status)
    if why is None:
        why = "the server's own fault; try later" if status >= 500 else "expected 200 and a tar file"
    kind = Transient if status in _OFTEN_TRANSIENT else Unfetchable
    raise kind(f"the server answered {status}: {why}")


def _as_unfetchable(error: Exception, url: str) -> Unfetchable:
    """What went wrong with a request, in words."""
    causes = list(behind(error))
    lookup = next((cause for cause in causes if isinstance(cause, socket.gaierror)), None)
    if lookup is not None:
        kind = Transient if lookup.errno == socket.EAI_AGAIN else Unfetchable
        return kind(f"host {_host(error, url)!r} is not found, or the proxy's; check its name and the network")
    secure = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if secure is not None:
        return Unfetchable(
            f"no secure connection ({_why(secure)}); check the address, or set SSL_CERT_FILE to the"
            " certificates of your network"
        )
    for types, kind, text in _REASONS:
        if isinstance(error, types):
            return kind(text.format(why=_why(error), connect=f"{CONNECT_SECONDS:g}", patience=f"{PATIENCE_SECONDS:g}"))
    return Unfetchable(_why(error))


# The first that fits.
_REASONS: tuple[tuple[type[Exception], type[Unfetchable], str], ...] = (
    (httpx.ConnectTimeout, Transient, "no connection within {connect} s"),
    (httpx.TimeoutException, Stalled, "nothing came for {patience} s"),
    (httpx.ProxyError, Unfetchable, "the proxy refuses ({why}); see HTTPS_PROXY, HTTP_PROXY and NO_PROXY"),
    (httpx.TooManyRedirects, Unfetchable, f"the server redirects more than {_MOST_REDIRECTS} times, as in a loop"),
    (httpx.ConnectError, Transient, "no connection ({why}); is the server up, and the port right?"),
    (httpx.RemoteProtocolError, Transient, "the connection was closed before all had come ({why})"),
    (httpx.NetworkError, Transient, "the connection broke ({why})"),
    (httpx.UnsupportedProtocol, Unfetchable, "it redirects to what is no address of the web ({why})"),
    (httpx.InvalidURL, Unfetchable, "it, or what it redirects to, is no address ({why})"),
)


def _host(error: Exception, url: str) -> str:
    # The request is that of the last redirect.
    request = getattr(error, "_request", None)
    return httpx.URL(url).host if request is None else str(request.url.host)


class Filesystem:
    """A file that fsspec opens, such as s3://; its packages are extras."""

    def __init__(self, url: str, scheme: str) -> None:
        """Connects when it is read."""
        self._url, self._scheme = url, scheme
        self._ended = threading.Event()

    def chunks(self) -> Iterator[bytes]:
        """The bytes, as many as the file system says that there are."""
        n_bytes = 0
        try:
            with fsspec.open(self._url, "rb", **self._options()) as opened:
                expected = getattr(opened, "size", None)
                while not self._ended.is_set() and (chunk := opened.read(_CHUNK)):
                    n_bytes += len(chunk)
                    yield chunk
        except ImportError as error:
            how = "`uv sync --extra s3`" if self._scheme in ("s3", "s3a") else f"({_why(error)})"
            raise Unfetchable(f"{self._scheme}:// needs packages that are not installed: {how}") from error
        except FileNotFoundError as error:
            raise Unfetchable("there is no such file; check the address") from error
        except PermissionError as error:
            raise Unfetchable(f"access is refused ({_why(error)}); check the credentials") from error
        except ValueError as error:
            if "Protocol not known" not in str(error):
                raise
            raise Unfetchable(
                f"{self._scheme}:// is not known; use a path, http(s)://, s3://, or pipe:COMMAND"
            ) from error
        if isinstance(expected, int) and n_bytes != expected and not self._ended.is_set():
            raise Transient(f"{n_bytes} of {expected} bytes came")

    def _options(self) -> dict[str, Any]:
        if self._scheme not in ("s3", "s3a"):
            return {}
        waits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": PATIENCE_SECONDS, "retries": {"max_attempts": 2}}
        return {"config_kwargs": waits}

    def close(self) -> None:
        """Stop at the next chunk."""
        self._ended.set()


def _why(error: BaseException) -> str:
    return first_line(error)[:_LONGEST_REASON]
