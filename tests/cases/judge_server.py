"""A server process on loopback that answers like an endpoint of OpenAI's chat interface, and misbehaves as captions and paths ask.

A word `fault:NAME` of a caption says what becomes of it; the first part of the path, how the endpoint is: `/v1` well, others see
`_Handler`. What was asked is counted by path and model, so that tests that share the process do not meet.
"""

import contextlib
import http.server
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

from tests.cases.places import ROOT

UNSAFE = re.compile(r"\b(?:knife|gun|angry)\b")
SECRET = "sk-very-secret"
_SLOW = 0.15


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):  # what was asked so far
        path, _, model = self.path.partition("?")
        self._reply(200, self.server.place(path, model).told())

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        caption = body["messages"][-1]["content"]
        place = self.server.place(self.path, body["model"])
        times = place.begin(caption, body, self.headers.get("Authorization"))
        try:
            with contextlib.suppress(OSError):
                if not self._badly_by_path(self.path.split("/")[1], body, place):
                    self._badly_by_caption(caption, times, body) or self._verdict(caption, body)
        finally:
            place.end()

    def _badly_by_path(self, how, body, place):
        if how == "dead":
            return self._reply(500, {"error": {"message": "dead"}})
        if how == "closed":
            return self._reply(429, {"error": {"message": "come back"}}, {"Retry-After": "3600"})
        if how == "locked" and self.headers.get("Authorization") != f"Bearer {SECRET}":
            return self._reply(401, {"error": {"message": f"no such key: {self.headers.get('Authorization')}"}})
        if how == "plain" and "response_format" in body:
            return self._reply(400, {"error": {"message": "response_format is unknown"}})
        if how == "refuses":
            return self._reply(400, {"error": {"message": "no such parameter"}})
        if how == "swaps":
            body["model"] += "-a" if place.n <= 3 else "-b"
        if how == "slow":
            time.sleep(_SLOW)
        return False

    def _badly_by_caption(self, caption, times, body):
        fault = re.search(r"fault:(\w+)", caption)
        return fault is not None and getattr(self, f"_{fault[1]}")(times, body)

    def _seconds(self, times, _body):
        return times == 1 and self._reply(429, {"error": {}}, {"Retry-After": "0.2"})

    def _date(self, times, _body):
        # By a clock that is an hour behind.
        then = time.time() - 3600
        if times == 1:
            self._reply(
                429,
                {"error": {}},
                {"Retry-After": formatdate(then + 1, usegmt=True), "Date": formatdate(then, usegmt=True)},
            )
        return times == 1

    def _nonsense(self, times, _body):
        return times == 1 and self._reply(503, {"error": {}}, {"Retry-After": "soon"})

    def _error(self, times, _body):
        return times <= 2 and self._reply(500, {"error": {"message": "boom"}})

    def _always(self, _times, _body):
        return self._reply(500, {"error": {"message": "boom"}})

    def _drop(self, times, _body):
        if times == 1:
            self.close_connection = True
        return times == 1

    def _cut_off(self, times, _body):
        if times == 1:
            self._reply(200, b'{"choices": [', length=500)
            self.close_connection = True
        return times == 1

    def _garbage(self, times, _body):
        return times == 1 and self._reply(200, b"<html>a proxy's page</html>")

    def _empty(self, times, body):
        return times == 1 and self._reply(200, {"model": body["model"], "choices": []})

    def _large(self, times, _body):
        return times == 1 and self._reply(200, b" " * (2 << 20))

    def _drips(self, times, _body):
        if times == 1:
            self._reply(200, b" ", length=1000)
            for _ in range(40):
                self.wfile.write(b" ")
                time.sleep(0.05)
            self.close_connection = True
        return times == 1

    def _refusal(self, _times, body):
        return self._complete("I'm sorry, but I can't help with that request.", body)

    def _marked(self, _times, body):
        return self._complete(None, body, refusal="I will not say")

    def _cut(self, _times, body):
        return self._complete("The caption describes", body, finish="length")

    def _filtered(self, _times, body):
        return self._complete(None, body, finish="content_filter")

    def _azure(self, _times, _body):
        return self._reply(400, {"error": {"code": "content_filter", "message": "against the policy"}})

    def _chatty(self, _times, body):
        return self._complete("It is not unsafe.", body)

    def _parts(self, _times, body):
        return self._complete([{"type": "text", "text": "Un"}, {"type": "text", "text": "safe"}], body)

    def _verdict(self, caption, body):
        verdict = "unsafe" if bool(UNSAFE.search(caption)) != self.path.startswith("/contrary") else "safe"
        if "response_format" in body and not self.path.startswith("/ignores"):
            return self._complete(json.dumps({"verdict": verdict}), body)
        return self._complete(("{}", " {}.\n", "**{}**", "Answer: {}")[len(caption) % 4].format(verdict.title()), body)

    def _complete(self, content, body, finish="stop", refusal=None):
        message = {"role": "assistant", "content": content} | ({"refusal": refusal} if refusal else {})
        choice = {"index": 0, "finish_reason": finish, "message": message}
        served = {"model": f"{body['model']}-2026", "system_fingerprint": "fp_1"}
        return self._reply(200, {"object": "chat.completion", "choices": [choice], **served})

    def _reply(self, status, body, headers=None, length=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response_only(status)
        for name, value in ({"Date": formatdate(usegmt=True)} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)
        return True


class _Place:
    """What one model was asked at one path."""

    def __init__(self):
        self.lock, self.n, self.in_flight, self.most = threading.Lock(), 0, 0, 0
        self.times, self.starts, self.bodies, self.keys = {}, [], [], set()

    def begin(self, caption, body, key):
        with self.lock:
            self.n += 1
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            self.times[caption] = self.times.get(caption, 0) + 1
            self.starts.append(time.monotonic())
            self.bodies.append(body)
            self.keys.add(key)
            return self.times[caption]

    def end(self):
        with self.lock:
            self.in_flight -= 1

    def told(self):
        with self.lock:
            return {
                "n": self.n,
                "most": self.most,
                "times": self.times,
                "starts": self.starts,
                "bodies": self.bodies[-1:],
            }


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.places, self.lock = {}, threading.Lock()

    def place(self, path, model):
        with self.lock:
            return self.places.setdefault((path.split("/")[1], model), _Place())

    def handle_error(self, *_):
        pass


class JudgeServer:
    """The process, from a test's side."""

    def __init__(self, root: str) -> None:
        self.root = root

    def url(self, how: str = "v1") -> str:
        return f"{self.root}/{how}" if how == "v1" else f"{self.root}/{how}/v1"

    def asked(self, model: str, how: str = "v1") -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.root}/{how}?{model}") as answer:
            return json.load(answer)


@contextlib.contextmanager
def judge_server() -> Iterator[JudgeServer]:
    """The server as a process of its own."""
    command = [sys.executable, "-m", "tests.cases.judge_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield JudgeServer(process.stdout.readline().strip())
        finally:
            process.kill()


if __name__ == "__main__":
    server = _Server()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever(poll_interval=0.5)
