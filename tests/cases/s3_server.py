"""A real S3 server, moto's, in a process of its own on loopback; it notes what it is asked, and fails as it is told."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cases.places import ROOT
from tests.cases.processes import wait_for

if TYPE_CHECKING:
    import pytest

BUCKET = "team"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
_ASKED, _RULES = "asked.txt", "rules.json"


class S3Server:
    """The server; `environment` is what its clients need."""

    def __init__(self, folder: Path, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": self.address}
        self.process = process
        self._folder = folder

    def files(self) -> Any:
        """The bucket's objects, through fsspec."""
        import s3fs

        return s3fs.S3FileSystem(
            key="testing",
            secret="testing",
            endpoint_url=self.address,
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def keys(self, under: str = "") -> set[str]:
        """The keys of all objects below a prefix, relative to it."""
        root = f"{BUCKET}/{under}".rstrip("/")
        return {path.removeprefix(f"{root}/") for path in self.files().find(root)}

    def asked(self) -> list[str]:
        """The requests so far, such as `GET /team/prefix/key`."""
        path = self._folder / _ASKED
        return path.read_text().splitlines() if path.exists() else []

    def forget(self) -> None:
        """Begin to note requests anew."""
        (self._folder / _ASKED).unlink(missing_ok=True)

    def rule(self, does: str, request: str, *, after: int = 0, times: int = 1_000_000) -> None:
        """Let the server `die`, `drop` the connection, or be `busy` (503) at the next requests that match a pattern."""
        rule = {"does": does, "request": request, "after": after, "times": times, "given": time.monotonic()}
        draft = self._folder / "draft.json"
        draft.write_text(json.dumps(rule))
        draft.replace(self._folder / _RULES)

    def behave(self) -> None:
        """Break no rule any more."""
        (self._folder / _RULES).unlink(missing_ok=True)

    @contextlib.contextmanager
    def knowing_nobody(self) -> Iterator[None]:
        """For as long as the block lasts, no key is known."""
        self._let_in_unasked("0")
        try:
            yield
        finally:
            self._let_in_unasked("inf")

    def _let_in_unasked(self, n_requests: str) -> None:
        plain = {"Content-Type": "text/plain"}  # a form would be taken apart
        request = urllib.request.Request(
            f"{self.address}/moto-api/reset-auth", n_requests.encode(), plain, method="POST"
        )
        urllib.request.urlopen(request, timeout=60).close()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


def without_pauses(patch: "pytest.MonkeyPatch") -> None:
    """Let the clients of this process ask a server that fails again at once, as often as else."""
    from botocore.retries.standard import ExponentialBackoff

    from tasks.lineage.remotes import faults

    patch.setattr(faults, "FIRST_PAUSE_SECONDS", 0.0)
    patch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.0)


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server with one empty bucket, for as long as the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = {**os.environ, **CREDENTIALS, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.cases.s3_server", str(port), str(folder)]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
    server = S3Server(folder, port, process)
    try:
        wait_for(lambda: _answers(port) or process.poll() is not None)
        server.files().mkdir(BUCKET)
        server.forget()
        yield server
    finally:
        server.kill()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class _Watched:
    """Notes requests and breaks the rules before the server sees them."""

    def __init__(self, application: Any, folder: Path) -> None:
        self._application, self._folder = application, folder
        self._lock = threading.Lock()
        self._n_matching: dict[str, int] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        with self._lock:
            with (self._folder / _ASKED).open("a") as asked:
                asked.write(request + "\n")
            does = self._broken(request)
        if does == "die":
            os._exit(1)
        if does == "drop":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        if does == "busy":
            start_response("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        return self._application(environ, start_response)

    def _broken(self, request: str) -> str | None:
        path = self._folder / _RULES
        if not path.exists():
            return None
        text = path.read_text()
        rule = json.loads(text)
        if not re.search(rule["request"], request):
            return None
        self._n_matching[text] = self._n_matching.get(text, 0) + 1
        first = rule["after"] + 1
        does: str = rule["does"]
        return does if first <= self._n_matching[text] < first + rule["times"] else None


def _serve(port: int, folder: Path) -> None:
    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app, run_simple

    os.environ["MOTO_PORT"] = str(port)
    application = _Watched(DomainDispatcherApplication(create_backend_app), folder)
    run_simple("127.0.0.1", port, application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]))
