"""Peak memory of scoring and of evaluation, each size in a fresh child, so that peaks are its own."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from data_specs.schemas import activation_stats_schema
from tasks.extraction.columns import vector_column
from tasks.extraction.table_writer import TableWriter
from tasks.scoring.aggregate import LayerStatistics
from tasks.scoring.layer_scores import aggregate_layer
from tasks.scoring.scorers.uwm import MeanOfRatios
from tests.benchmarks.timing import by_turns, one_thread, ratio
from tests.cases.evaluation_memory import evaluation_memory, write_pairs

_WIDTH, _OUT, _SHARD_PAIRS = 3072, 768, 1024


def peak_memory_16x_over_1x_pairs() -> dict[str, Any]:
    """Scores of one ViT-B layer from 512 and from 8,192 pairs on disk."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for n_pairs in (512, 8_192):
            place = Path(folder) / str(n_pairs)
            _write_statistics(place, n_pairs)
            peaks[n_pairs] = _peak_mb(place)
    return ratio(peaks[8_192] / peaks[512], "<= 1.15", peak_mb_512=peaks[512], peak_mb_8192=peaks[8_192])


def evaluation_memory_over_inputs() -> dict[str, Any]:
    """SafeGround and retrieval of 50,000 pairs of width 512, with intervals: megabytes over their embeddings."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for n_pairs in (5_000, 50_000):
            write_pairs(Path(folder) / str(n_pairs), n_pairs, 512)
            found[n_pairs] = evaluation_memory(Path(folder) / str(n_pairs), 512)["over_inputs_mb"]
    value = {"value": round(found[50_000], 1), "unit": "MiB over inputs", "limit": "<= 477"}  # half a gigabyte
    return value | {"mib_5000": round(found[5_000], 1), "inputs_mib_50000": round(4 * 50_000 * 512 * 4 / 2**20, 1)}


def small_files_over_large() -> dict[str, Any]:
    """Scores of one ViT-B layer from 512 files of 16 pairs, over those from 8 files of 1,024, one thread."""
    weight = torch.randn(_OUT, _WIDTH)
    with tempfile.TemporaryDirectory() as folder, one_thread():
        places = {n: Path(folder) / str(n) for n in (16, 1_024)}
        for per_file, place in places.items():
            _write_statistics(place, 8_192, per_file)

        def score(place: Path) -> None:
            aggregate_layer(LayerStatistics(place, None), MeanOfRatios(weight))

        small, large = by_turns(lambda: score(places[16]), lambda: score(places[1_024]), repeats=5)
    return ratio(small / large, "<= 1.2", small_seconds=small, large_seconds=large)


def _write_statistics(folder: Path, n_pairs: int, per_file: int = _SHARD_PAIRS) -> None:
    schema = activation_stats_schema(_WIDTH)
    generator = np.random.default_rng(0)
    n_rows = min(256, 2 * per_file)
    for start in range(0, n_pairs, per_file):
        path = folder / f"{start:06d}.parquet"
        with TableWriter({path: schema}) as writer:
            for first in range(start, min(start + per_file, n_pairs), n_rows // 2):
                ids = [f"digest/{first + i // 2}" for i in range(n_rows)]
                values = torch.from_numpy(generator.random((2, n_rows, _WIDTH), dtype=np.float32) + 0.5)
                columns = [
                    pa.array(ids),
                    pa.array(["safe", "unsafe"] * (n_rows // 2)),
                    pa.array([None] * n_rows, pa.string()),
                    pa.array([50] * n_rows, pa.int32()),
                    vector_column(values[0]),
                    vector_column(values[1]),
                ]
                writer.write({path: pa.RecordBatch.from_arrays(columns, schema=schema)})


_CHILD = """
import json, sys
from pathlib import Path
import torch
from tasks.scoring.aggregate import LayerStatistics
from tasks.scoring.layer_scores import aggregate_layer
from tasks.scoring.scorers.uwm import MeanOfRatios
weight = torch.randn({out}, {width})
scores, counts = aggregate_layer(LayerStatistics(Path(sys.argv[1]), None), MeanOfRatios(weight))
# ru_maxrss would also count the parent, whose pages a forked child shares until it starts.
peak_kb = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
print(json.dumps({{"peak_mb": peak_kb / 1024, **counts}}))
"""


def _peak_mb(folder: Path) -> float:
    code = _CHILD.format(out=_OUT, width=_WIDTH)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    peak: float = json.loads(done.stdout.splitlines()[-1])["peak_mb"]
    return peak
