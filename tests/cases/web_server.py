"""A real web server on loopback that misbehaves as its paths say."""

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        name, _, rest = self.path.removeprefix("http://example.invalid").strip("/").partition("/")
        with contextlib.suppress(OSError):
            getattr(self, f"_{name}")(rest)

    def log_message(self, *_):
        pass

    def _answer(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def _whole(self, _rest):
        self._answer(200, self.server.body)

    def _status(self, status):
        self._answer(int(status), b"<html>no</html>")

    def _twice(self, status):
        if len(self.server.asked) > 2:
            self._answer(200, self.server.body)
        else:
            self._answer(int(status), b"no")

    def _again(self, _rest):
        self._answer(302, Location="/again")

    def _elsewhere(self, _rest):
        self._answer(302, Location="file:///etc/hostname")

    def _moved(self, _rest):
        self._answer(302, Location="/whole")

    def _page(self, _rest):
        self._answer(200, b"\n<!DOCTYPE html><html>log in", Content_Type="text/html")

    def _silent(self, _rest):
        self.server.over.wait(30)

    def _drip(self, _rest):
        self._answer(200, length=100_000)
        while not self.server.over.is_set():
            self.wfile.write(b"x")
            time.sleep(0.05)

    def _drip_headers(self, _rest):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.server.over.is_set():
            self.wfile.write(b"x")
            time.sleep(0.05)

    def _cut(self, _rest):
        self._answer(200, self.server.body[:-600], length=len(self.server.body))
        self.close_connection = True

    def _cut_chunk(self, _rest):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (1000, self.server.body[:1000]))
        self.close_connection = True


@contextlib.contextmanager
def serving(body: bytes) -> Iterator[http.server.ThreadingHTTPServer]:
    """The server; `url` is its address, `asked` what it was asked for."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.body, server.asked, server.over = body, [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
