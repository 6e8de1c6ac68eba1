"""A shell whose `uwm` is answered by this process, which spares each command the imports of a new one."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.cases.small_run import Here, environment

_SHIM = """\
#!{python} -SE
import json, os, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect({address!r})
asked.sendall(json.dumps([os.getcwd(), sys.argv[1:]]).encode() + b"\\n")
status, out, err = json.loads(asked.makefile().readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""


def in_shell(script: str, folder: Path, here: Here) -> "subprocess.CompletedProcess[str]":
    """Let bash run a script in a folder, to its end or its first error."""
    shim = folder / ".bin" / "uwm"
    shim.parent.mkdir(exist_ok=True)
    address = str(shim.with_name("socket"))
    Path(address).unlink(missing_ok=True)
    shim.write_text(_SHIM.format(python=sys.executable, address=address), encoding="utf-8")
    shim.chmod(0o755)
    around = environment() | {"PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}"}
    with socket.socket(socket.AF_UNIX) as asked:
        asked.bind(address)
        asked.listen()
        asked.settimeout(0.05)
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=around,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while shell.poll() is None:
            with contextlib.suppress(TimeoutError):
                _answer(asked.accept()[0], here)
        out, err = shell.communicate()
    return subprocess.CompletedProcess(script, shell.returncode, out, err)


def _answer(connection: socket.socket, here: Here) -> None:
    with connection, connection.makefile("r", encoding="utf-8") as lines:
        connection.settimeout(60)
        folder, arguments = json.loads(lines.readline())
        with contextlib.chdir(folder):
            done = here(*arguments)
        connection.sendall(json.dumps([done.returncode, done.stdout, done.stderr]).encode() + b"\n")
