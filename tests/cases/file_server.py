"""A real web server on loopback for a few files, with ETags and ranges, that fails as it is told to."""

import contextlib
import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.cases.processes import PATIENCE_SECONDS


@dataclass
class ServedFile:
    """A file, what is said of it, and how its next answers go wrong, one after the other.

    A fault is a status, `cut N` (closed after N bytes), `less N` or `more N` (another length than there are bytes),
    `other` (as many wrong bytes) or `whole` (no answer to a range); `headers` replace what is said. Bytes but for the first
    come when `goes_on` is set.
    """

    body: bytes
    etag: str | None = "strong"
    headers: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    heads: bool = True
    goes_on: threading.Event | None = None

    def said(self) -> dict[str, str]:
        etag = f'"{hashlib.sha1(self.body).hexdigest()}"' if self.etag == "strong" else self.etag
        return {**({"ETag": etag} if etag else {}), **self.headers}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        found = self._found("HEAD")
        if found is not None and found.heads:
            self._head(200, len(found.body), found.said())
        elif found is not None:
            self._head(405, 0)

    def do_GET(self):
        found = self._found("GET")
        if found is None:
            return
        fault = found.faults.pop(0) if found.faults else ""
        with contextlib.suppress(OSError):
            self._answer(found, *fault.partition(" ")[::2])

    def log_message(self, *_):
        pass

    def _found(self, method):
        path = self.path.partition("?")[0].strip("/")
        self.server.asked.append((method, path, self.headers.get("Range")))
        found = self.server.files.get(path)
        if found is None:
            self._head(404, 0)
        return found

    def _answer(self, found, fault, n):
        if fault.isdecimal():
            self._head(int(fault), 0, found.headers)
            return
        body, status, said = found.body, 200, found.said()
        wanted = self.headers.get("Range")
        if wanted and fault != "whole" and self.headers.get("If-Range", said.get("ETag")) == said.get("ETag"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            body = body[int(first) : int(last) + 1 if last else None]
            said = {**said, "Content-Range": f"bytes {first}-{int(first) + len(body) - 1}/{len(found.body)}"}
            status = 206
        length = len(body) + {"less": -1, "more": 1}.get(fault, 0) * int(n or 0)
        self._head(status, length, said)
        body = bytes(len(body)) if fault == "other" else body[: int(n)] if fault == "cut" else body
        if found.goes_on is not None:
            self.wfile.write(body[:1])
            found.goes_on.wait(PATIENCE_SECONDS)
            body = body[1:]
        self.wfile.write(body)
        self.close_connection = fault in ("cut", "less", "more")

    def _head(self, status, length, said=None):
        self.send_response(status)
        for key, value in (said or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


@contextlib.contextmanager
def files_served(**bodies: bytes) -> Iterator[http.server.ThreadingHTTPServer]:
    """The server; `url` is its address, `files` what it has by path, `asked` the method, path and range of each request."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.files = {f"{name}.tar": ServedFile(body) for name, body in bodies.items()}
    server.asked = []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
