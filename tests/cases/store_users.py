"""Processes that use a store, or die at a chosen moment."""

import subprocess
import sys
from contextlib import contextmanager

from tests.cases.small_run import environment

_USER = """
import sys
from data_specs.manifest import ArtifactRef
from tasks.lineage.store import Store
store = Store(sys.argv[1])
store.check(ArtifactRef(kind=sys.argv[2], version=sys.argv[3]))
print("ready", flush=True)
sys.stdin.readline()
store.check(ArtifactRef(kind=sys.argv[2], version=sys.argv[3]))
"""
_DIES = """
import os, signal, sys
from pathlib import Path
from data_specs.manifest import ArtifactRef
from tasks.lineage.dropping import pruning
from tasks.lineage.listeners import Listener
from tasks.lineage.store import Store

class Killed(Listener):
    def dropping(self, manifest):
        if sys.argv[4] == "between":
            os.kill(os.getpid(), signal.SIGKILL)

store = Store(sys.argv[1], listeners=[Killed()])
if sys.argv[4] == "half":
    unlink = Path.unlink
    def unlink_once(path, missing_ok=False):
        unlink(path, missing_ok=missing_ok)
        if path.name != "pruned.json":
            os.kill(os.getpid(), signal.SIGKILL)
    Path.unlink = unlink_once
pruning.prune(store, ArtifactRef(kind=sys.argv[2], version=sys.argv[3]), "test")
"""


def _command(script, root, ref, *more):
    return [sys.executable, "-c", script, str(root), ref.kind, ref.version, *more]


@contextmanager
def using(root, ref, before=()):
    """A process that has found an artifact sound, and looks at it again when the block ends; then it must end well.

    `before` stands before its command.
    """
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*before, *_command(_USER, root, ref)], env=environment(), **streams)
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    try:
        yield process
    finally:
        _, err = process.communicate("go on\n" if process.poll() is None else None, timeout=120)
    assert process.returncode in (0, -9), err


def killed_while_dropping(root, ref, when):
    """Drop an artifact's files in a process that SIGKILL ends, `between` the note and the first file or `half` way."""
    done = subprocess.run(_command(_DIES, root, ref, when), env=environment(), capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
