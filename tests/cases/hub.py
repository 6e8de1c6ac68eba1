"""A stand-in for the Hugging Face hub, as a process of its own: repositories, Git LFS and commits, into a folder.

`python -m tests.cases.hub FOLDER` writes its port to FOLDER/port.
"""

import base64
import hashlib
import http.server
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cases.places import ROOT
from tests.cases.processes import wait_for

TOKEN = "hf_of_this_test"


class _Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid credentials in Authorization header"})
        elif parts == ["api", "validate-yaml"]:
            self._answer(200, {"errors": [], "warnings": []})
        elif parts == ["api", "repos", "create"]:
            self._create(json.loads(body))
        elif parts[:2] == ["api", "models"] and parts[4] == "preupload":
            files = json.loads(body)["files"]
            self._answer(200, {"files": [_mode(file) for file in files]})
        elif parts[2:] == ["info", "lfs", "objects", "batch"]:
            self._answer(
                200, {"transfer": "basic", "objects": [self._action(it) for it in json.loads(body)["objects"]]}
            )
        elif parts[:2] == ["api", "models"] and parts[4] == "commit":
            self._commit("/".join(parts[2:4]), [json.loads(line) for line in body.splitlines()])
        else:
            self._answer(404, {"error": self.path})

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        (self.folder / self.path.strip("/")).write_bytes(data)
        self._answer(200, {})

    def log_message(self, *_):
        pass

    def _create(self, asked):
        name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        if asked.get("organization") == "others":
            self._answer(403, {"error": "You don't have the rights to create a model under this namespace"})
            return
        place = self.folder / name
        there = place.is_dir()
        if not there:
            place.mkdir(parents=True)
            (place / ".visibility").write_text(str(asked.get("visibility", asked.get("private"))))
        self._answer(409 if there else 200, {"url": f"{self._address}/{name}", "name": name})

    def _action(self, item):
        return item | {"actions": {"upload": {"href": f"{self._address}/{item['oid']}"}}}

    def _commit(self, name, lines):
        for line in lines[1:]:
            value = line["value"]
            target = self.folder / name / value["path"]
            if line["key"] == "lfsFile":
                data = (self.folder / value["oid"]).read_bytes()
                assert hashlib.sha256(data).hexdigest() == value["oid"]
                target.write_bytes(data)
            else:
                target.write_bytes(base64.b64decode(value["content"]))
        oid = "0" * 40
        self._answer(200, {"commitUrl": f"{self._address}/{name}/commit/{oid}", "commitOid": oid})

    @property
    def _address(self):
        return f"http://{self.headers['Host']}"

    def _answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _mode(file):
    mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    """The address of a hub that keeps what it is given in a folder; it ends with the block."""
    folder.mkdir()
    process = subprocess.Popen([sys.executable, "-m", "tests.cases.hub", str(folder)], cwd=ROOT)
    try:
        port = wait_for(lambda: (folder / "port").is_file() and (folder / "port").read_text())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


if __name__ == "__main__":
    _Hub.folder = Path(sys.argv[1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    draft = _Hub.folder / "port.draft"
    draft.write_text(str(server.server_address[1]))
    draft.rename(_Hub.folder / "port")
    server.serve_forever()
