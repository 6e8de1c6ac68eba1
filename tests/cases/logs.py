"""Logs of stores, and processes that write them."""

import subprocess
import sys
from pathlib import Path

from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tests.cases.places import ROOT
from tests.cases.recipes import recipe_of, write_two

_WRITER = """
import itertools, sys
from pathlib import Path
from data_specs.manifest import ArtifactRef
from tasks.lineage.trust.log import Log, fact_of
log = Log(Path(sys.argv[1]))
for number in range(int(sys.argv[2])) if int(sys.argv[2]) else itertools.count():
    log.append([fact_of("tagged", ArtifactRef(kind="scores", version="a" * 64), None, writer=sys.argv[3], number=str(number))])
    print(number, flush=True)
"""


def log_writer(root: Path, n: int, name: str) -> "subprocess.Popen[str]":
    """A process that writes `n` lines into the log of the store at `root`, or goes on until it is killed where `n` is 0."""
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(root), str(n), name], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def store_of(root: Path, n: int = 3) -> Store:
    """A store of `n` artifacts."""
    store = Store(root)
    for number in range(n):
        store.materialise(recipe_of(settings={"tau": number}), write_two, RunContext())
    return store


def log_lines(root: Path) -> list[bytes]:
    """The lines of a store's log, each with its end."""
    return (root / ".log" / "log.jsonl").read_bytes().splitlines(keepends=True)


def put_lines(root: Path, lines: list[bytes]) -> None:
    """Put lines in the place of a store's log."""
    (root / ".log" / "log.jsonl").write_bytes(b"".join(lines))
