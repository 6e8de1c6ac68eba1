"""A small store with a chain of artifacts, and audit bundles checked by the script that lies in them."""

import json
import subprocess
import sys
from pathlib import Path

from data_specs.manifest import Source
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tests.cases.recipes import recipe_of

DIGEST = "5" * 64


def small_chain(root):
    """Three artifacts, each of the one before; returns the store and the last one's reference."""
    store = Store(root)

    def activations(build):
        (build.folder / "rows.parquet").write_bytes(bytes(range(256)))
        build.sources.append(Source(location="shard.tar", sha256=DIGEST, size_bytes=3))

    def scores(build):
        (build.folder / "layer_summary.parquet").write_bytes(b"a summary")
        (build.folder / "scores.parquet").write_bytes(b"scores, which stay where they are")

    def evaluation(build):
        (build.folder / "metrics.json").write_text(json.dumps({"GS": 40.0, "µ": 0.1}, ensure_ascii=False))

    made = store.materialise(recipe_of("activations.text", inputs={"shards": [DIGEST]}), activations, RunContext())
    settings = {"tau": 0.1 + 0.2, "name": "größer\u2028\x00", "layers": [1e-7, 1e22, True, None]}
    made = store.materialise(recipe_of("scores", settings=settings, inputs={"of": [made.ref]}), scores, RunContext())
    made = store.materialise(recipe_of("evaluation", inputs={"model": made.ref}), evaluation, RunContext())
    return store, made.ref


def unpacked(bundle: Path, folder: Path) -> Path:
    """The folder that a bundle is unpacked into by Python alone."""
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(bundle), str(folder)], check=True)
    return folder


def verified(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What the script in a bundle says, by a Python that has nothing but its standard library."""
    command = [sys.executable, "-I", "-S", str(folder / "verify.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
