"""The memory that an evaluation of many pairs takes, in a process of its own, so that the peak is its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import torch
from torch.nn.functional import normalize

from data_specs.manifest import ArtifactRef
from data_specs.schemas import embeddings_schema
from tasks.embeddings.observer import FOLDER
from tasks.extraction.columns import vector_column
from tasks.lineage.store import Store
from tests.cases.places import ROOT
from tests.cases.statistics import write_statistics

_SHARD_PAIRS = 2_500
_CHILD = """
import json, sys
from pathlib import Path
import scipy.stats
import torch
from data_specs.choosing import Counted
from data_specs.manifest import ArtifactRef
from tasks.evaluation.task import evaluate_model
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
def kilobytes(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])
store, share, width = Store(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
refs = {name: ArtifactRef(kind="embeddings." + name, version="1" * 64) for name in ("text", "vision")}
torch.ones(2, 2) @ torch.ones(2, 2)
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before = kilobytes("VmRSS")
made = evaluate_model.fn("a" * 64, refs, [], store, RunContext(), seed=0, counted=Counted(pairs=(0.0, share)))
n_pairs = json.loads((made.path / "metrics.json").read_text())["n_pairs"]
inputs = 4 * n_pairs * width * 4 / 1024
print(json.dumps({"over_inputs_mb": (kilobytes("VmHWM") - before - inputs) / 1024, "n_pairs": n_pairs}))
"""


def write_pairs(root: Path, n_pairs: int, width: int) -> None:
    """Embeddings of both encoders in a store, random but alike within a pair."""
    generator = torch.Generator().manual_seed(0)
    schema = embeddings_schema(width)
    for number, start in enumerate(range(0, n_pairs, _SHARD_PAIRS)):
        ids = [f"{'d' * 64}/{i:09d}" for i in range(start, min(start + _SHARD_PAIRS, n_pairs)) for _ in range(2)]
        shared = torch.randn(len(ids) // 2, width, generator=generator).repeat_interleave(2, dim=0)
        for encoder in ("text", "vision"):
            values = normalize(shared + 3 * torch.randn(len(ids), width, generator=generator), dim=1)
            columns = [pa.array(ids), pa.array(["safe", "unsafe"] * (len(ids) // 2)), pa.array(["hate"] * len(ids))]
            rows = pa.RecordBatch.from_arrays([*columns, vector_column(values)], schema=schema)
            folder = Store(root).path(ArtifactRef(kind=f"embeddings.{encoder}", version="1" * 64)) / FOLDER
            write_statistics(folder / f"{number:06d}-{number:012x}.parquet", [rows])


def evaluation_memory(root: Path, width: int, *, share: float = 1.0) -> dict[str, float]:
    """Megabytes above what the process had before and above the embeddings of the pairs that are counted."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(root), str(share), str(width)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        # What the C library keeps of what was freed, more with each thread, is nothing that the evaluation holds.
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "65536"},
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
