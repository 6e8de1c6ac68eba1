"""A store's reports for a browser of this machine: a web server on loopback that gives report pages and nothing else."""

import html
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from data_specs.errors import SpecError
from data_specs.wording import printable, reason

HOST = "127.0.0.1"
# Pages of artifacts, STORE/report/VERSION/report.html, and those that lie with a watch's nights.
_PAGE = re.compile(
    r"(?:report/[0-9a-f]{1,128}|\.watches/[A-Za-z0-9][A-Za-z0-9_.-]{0,199})/[A-Za-z0-9][\w.-]{0,199}\.html"
)
_PLACES = ("report/*/*.html", ".watches/*/*.html")
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    # What a report needs, and no way out of it.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline';"
    " img-src data: blob:; font-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_MOST_LISTED = 500


@contextmanager
def reports_served(store: Path, port: int) -> Iterator[str]:
    """Serve a store's reports for as long as the block lasts, which is given their address.

    Args:
        store: its folder.
        port: of this machine; 0 takes any that is free.

    Raises:
        SpecError: the port cannot be had.
    """
    try:
        server = _ReportServer(store, port)
    except (OSError, OverflowError) as error:
        raise SpecError(
            f"--reports {port}: {HOST}:{port} cannot be listened on: {reason(error)}; choose another port"
        ) from error
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def report_file(store: Path, path: str) -> Path | None:
    """The file of a report that a URL's path names; None where it is no report of this store."""
    name = unquote(urlsplit(path).path, errors="strict").removeprefix("/")
    if not _PAGE.fullmatch(name):
        return None
    root, found = store.resolve(), (store / name).resolve()
    # A link that leads out of the store is none of its reports.
    return found if found.is_relative_to(root) and found.is_file() else None


class _ReportServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, store: Path, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.store = store
        # A page elsewhere that gave its own name this machine's address would be asked for by that name.
        self.names = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}


class _Handler(BaseHTTPRequestHandler):
    server: _ReportServer
    server_version = "uwm"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """A report, or the list of them."""
        with suppress(OSError):  # whoever asked went away
            self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """The same without its content."""
        with suppress(OSError):
            self._answer(with_body=False)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def _answer(self, *, with_body: bool) -> None:
        status, body = self._found()
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _found(self) -> tuple[HTTPStatus, bytes]:
        if self.headers.get("Host", "") not in self.server.names:
            return HTTPStatus.MISDIRECTED_REQUEST, _page("Ask for it by 127.0.0.1.")
        if urlsplit(self.path).path in ("", "/"):
            return HTTPStatus.OK, _list_of(self.server.store)
        try:
            file = report_file(self.server.store, self.path)
            if file is not None:
                return HTTPStatus.OK, file.read_bytes()
        except (OSError, ValueError):
            pass
        return HTTPStatus.NOT_FOUND, _page("There is no such report in this store.")


def _list_of(store: Path) -> bytes:
    found = []
    for place in _PLACES:
        for path in store.glob(place):
            with suppress(OSError):
                if report_file(store, path.relative_to(store).as_posix()) is not None:
                    found.append((path.stat().st_mtime, path.relative_to(store).as_posix()))
    rows = [
        f'<li><a href="/{html.escape(name)}">{html.escape(name)}</a> {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC'
        for at, name in sorted(found, reverse=True)[:_MOST_LISTED]
    ]
    return _page(f"Reports of {printable(str(store))}, the newest first", "<ul>" + "\n".join(rows) + "</ul>")


def _page(title: str, body: str = "") -> bytes:
    shown = html.escape(title)
    return f"<!doctype html><meta charset=utf-8><title>{shown}</title><h1>{shown}</h1>{body}\n".encode()
