"""Disks that are full, and disks that nobody may write to; real ones, mounted for the length of a test."""

import os
import subprocess
import sys

import pytest

from tests.cases.places import ROOT

pytestmark = pytest.mark.slow


def _may_mount():
    done = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return done.returncode == 0


mounts = pytest.mark.skipif(not os.access("/usr/bin/unshare", os.X_OK) or not _may_mount(), reason="may not mount")

FULL = """
import subprocess, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, torch
from safetensors.torch import save_file
from data_specs.errors import ArtifactError, SpecError
from data_specs.manifest import Recipe
from tasks.extraction.table_writer import TableWriter
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], check=True)
rows = pa.record_batch({"x": np.random.default_rng(0).random(100_000)})

def in_thread(path):
    with TableWriter({path: rows.schema}) as writer:
        writer.write({path: rows})

def wrapped(path):
    try:
        path.write_bytes(bytes(800_000))
    except OSError as error:
        raise SpecError(f"cannot write to {path.parent}") from error

ways = {
    "bytes": lambda path: path.write_bytes(bytes(800_000)),
    "parquet": lambda path: pq.write_table(pa.Table.from_batches([rows]), path),
    "thread": in_thread,
    "safetensors": lambda path: save_file({"x": torch.zeros(200_000)}, path),
    "wrapped": wrapped,
}
store = Store(disk / "store")
for name, write in ways.items():
    def make(build):
        if build.parts.record("first") is None:
            (build.folder / "first").write_text("1")
            build.parts.finish("first", [build.folder / "first"], {})
            made.append(name)
        write(build.folder / "large")

    made, recipe = [], Recipe(kind="scores", code=name)
    try:
        store.materialise(recipe, make, RunContext())
    except ArtifactError as error:
        print(name, error)
    subprocess.run(["mount", "-o", "remount,size=9m", str(disk)], check=True)
    again = store.materialise(recipe, make, RunContext())
    print(name, "then made", sorted(entry.path for entry in store.check(again.ref).files), made)
    subprocess.run(f"rm -rf {disk}/store/scores {disk}/store/.scratch", shell=True, check=True)
    subprocess.run(["mount", "-o", "remount,size=200k", str(disk)], check=True)
"""

READ_ONLY = """
import subprocess, sys
from pathlib import Path
from data_specs.errors import ArtifactError
from data_specs.manifest import Recipe
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.lineage.trace import verify_lineage

root = sys.argv[1]

def write(build):
    (build.folder / "a.txt").write_text("a")

made = Store(root).materialise(Recipe(kind="scores", code="x"), write, RunContext())
if sys.argv[2] == "bare":
    subprocess.run(f"rm -r {root}/.locks {root}/.scratch", shell=True, check=True)
subprocess.run(["mount", "--bind", root, root], check=True)
subprocess.run(["mount", "-o", "remount,ro,bind", root], check=True)
store = Store(root)
print(store.materialise(Recipe(kind="scores", code="x"), write, RunContext()).reused)
print([n for _, n in verify_lineage(store, store.find(made.ref.version[:8]))])
folder = store.temporary_folder("fetched-1")
(folder / "x").write_text("")
print(not folder.is_relative_to(root))
try:
    store.materialise(Recipe(kind="scores", code="y"), write, RunContext())
except ArtifactError as error:
    print(error)
"""


def in_own_mounts(script, *arguments):
    command = ["unshare", "-m", sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@mounts
def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_space(tmp_path):
    lines = in_own_mounts(FULL, tmp_path)
    for name in ("bytes", "parquet", "thread", "safetensors", "wrapped"):
        said, after = (line for line in lines if line.startswith(f"{name} "))
        assert f"was made in the store {tmp_path}/store: No space left on device; make space" in said
        # What was finished before was kept.
        assert after == f"{name} then made ['first', 'large'] ['{name}']"


@mounts
@pytest.mark.parametrize("kept", ["whole", "bare"])
def test_a_store_that_is_read_only_is_used_as_long_as_nothing_must_be_made(tmp_path, kept):
    root = tmp_path / "store"
    assert in_own_mounts(READ_ONLY, root, kept) == [
        "True",
        "[1]",
        "True",
        f"cannot write to the store {root}: Read-only file system; choose another with --store",
    ]
