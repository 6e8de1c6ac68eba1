"""Files on web servers: http and https, with proxies and certificates as the environment says."""

import base64
import binascii
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import httpx

from tasks.lineage.disk import behind
from tasks.shards import fetching
from tasks.shards.fetching import Answer, NoRest, Rest, Stalled, Transient, Unfetchable, words_of

_MOST_REDIRECTS = 10
_LONGEST_ASKED_PAUSE_SECONDS = 60.0
_OFTEN_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_BY_HEAD = frozenset({400, 403, 404, 405, 501})  # an address that was signed is signed for GET alone
_WHOLE, _PART, _NO_SUCH_PART = frozenset({200, 203}), 206, 416
_STATUS = {
    401: "it asks for a name and a password or a token",
    403: "it refuses access; an address that was signed may have run out",
    404: "there is no such file; check the address",
    407: "the proxy asks for a password; see HTTPS_PROXY",
    410: "the file is gone",
    416: "it does not give that part of the file",
    429: "it was asked too often; try later",
}
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_OPAQUE = re.compile(r'"[\x21\x23-\x7e\x80-\xff]+"')
_MD5 = re.compile(r'"([0-9a-f]{32})"')


class Web:
    """A file on a web server."""

    def __init__(self, url: str, rest: Rest | None = None) -> None:
        """Connects when it is read; `rest` asks for what lacks of a file, which the server may answer with all of it."""
        self._url, self._rest = url, rest
        self._ended = threading.Event()

    def chunks(self) -> Iterator[Answer | bytes]:
        """What the headers say, and the body, complete by its length or its last chunk."""
        headers = {} if self._rest is None else {"Range": f"bytes={self._rest.start}-", "If-Range": self._rest.etag}
        with (
            _failures_told(self._url),
            _client() as client,
            client.stream("GET", self._url, headers=headers) as response,
        ):
            _require_success(response, self._rest)
            yield _said(response)
            for chunk in response.iter_bytes():
                if self._ended.is_set():
                    return
                yield chunk

    def look(self) -> Answer:
        """What the server says of the file, without its bytes.

        Raises:
            Unfetchable: it cannot be asked, or refuses.
        """
        with _failures_told(self._url), _client() as client:
            response = client.head(self._url)
            if response.status_code in _NOT_BY_HEAD:
                with client.stream("GET", self._url, headers={"Range": "bytes=0-0"}) as response:
                    if response.status_code != _PART:
                        _require_success(response, None)
                    return _said(response)
            _require_success(response, None)
            return _said(response)

    def close(self) -> None:
        """Stop at the next chunk."""
        self._ended.set()


def _client() -> httpx.Client:
    return httpx.Client(
        verify=_certificates(),
        timeout=httpx.Timeout(fetching.PATIENCE_SECONDS, connect=fetching.CONNECT_SECONDS),
        follow_redirects=True,
        max_redirects=_MOST_REDIRECTS,
        headers={"Accept-Encoding": "identity"},
    )


@cache
def _certificates() -> ssl.SSLContext:
    # Those of the system, too: a company's own are there.
    context = httpx.create_ssl_context()
    context.load_default_certs()
    return context


def _require_success(response: httpx.Response, rest: Rest | None) -> None:
    status = response.status_code
    if status in _WHOLE or (status == _PART and rest is not None and _said(response).start == rest.start):
        return
    why = _STATUS.get(status)
    if why is None:
        why = "the server's own fault; try later" if status >= 500 else "expected 200 and a tar file"
    text = f"the server answered {status}: {why}"
    if rest is not None and status in (_PART, _NO_SUCH_PART):
        raise NoRest(text)
    error = (Transient if status in _OFTEN_TRANSIENT else Unfetchable)(text)
    if isinstance(error, Transient):
        error.seconds = _asked_pause(response.headers.get("Retry-After", ""))
    raise error


def _asked_pause(text: str) -> float:
    # It may also be a date, of a clock that is not this one.
    return min(float(text), _LONGEST_ASKED_PAUSE_SECONDS) if text.isascii() and text.isdecimal() else 0.0


def _said(response: httpx.Response) -> Answer:
    headers, start = response.headers, 0
    length = headers.get("Content-Length", "")
    size = int(length) if length.isascii() and length.isdecimal() else None
    if response.status_code == _PART:
        named = _RANGE.fullmatch(headers.get("Content-Range", ""))
        start = int(named[1]) if named else -1
        size = int(named[3]) if named and named[3] != "*" else None
    if headers.get("Content-Encoding", "identity") != "identity":
        return Answer(start=start)  # what it says is of other bytes than those that come
    etag = headers.get("ETag", "")
    return Answer(
        size_bytes=size,
        etag=etag if _OPAQUE.fullmatch(etag) else None,
        md5=_md5(headers, etag, whole=response.status_code != _PART),
        sha256=_hexadecimal(headers.get("x-amz-checksum-sha256"), 32),
        start=start,
    )


def _md5(headers: httpx.Headers, etag: str, *, whole: bool) -> str | None:
    for said in headers.get("x-goog-hash", "").split(","):
        name, _, value = said.strip().partition("=")
        if name == "md5":
            return _hexadecimal(value, 16)
    if "Content-MD5" in headers:  # of a part it is the part's
        return _hexadecimal(headers["Content-MD5"], 16) if whole else None
    # Of S3, the ETag of what was put in one go and is encrypted with no key of the user's. Other servers hash what they like.
    encrypted = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    encrypted |= "x-amz-server-side-encryption-customer-algorithm" in headers
    if "x-amz-request-id" not in headers or encrypted:
        return None
    found = _MD5.fullmatch(etag)
    return found[1] if found else None


def _hexadecimal(text: str | None, n_bytes: int) -> str | None:
    """A digest that stands in base64; None for what is none, such as one of several parts' digests."""
    try:
        value = base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    return value.hex() if len(value) == n_bytes else None


@contextmanager
def _failures_told(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError, OSError) as error:
        raise _as_unfetchable(error, url) from error


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
            f"no secure connection ({words_of(secure)}); check the address, or set SSL_CERT_FILE to the"
            " certificates of your network"
        )
    for types, kind, text in _REASONS:
        if isinstance(error, types):
            waits = {"connect": f"{fetching.CONNECT_SECONDS:g}", "patience": f"{fetching.PATIENCE_SECONDS:g}"}
            return kind(text.format(why=words_of(error), **waits))
    return Unfetchable(words_of(error))


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
