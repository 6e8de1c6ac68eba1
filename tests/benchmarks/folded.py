"""Folded statistics against rows: bytes, time from statistics to scores, and memory as the number of pairs grows."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data_specs.manifest import Recipe
from data_specs.run_config import EncoderConfig
from tasks.extraction.table_writer import TableWriter
from tasks.lineage.digest import describe_files
from tasks.lineage.finished_parts import Parts
from tasks.lineage.store import Build
from tasks.scoring.aggregate import LayerStatistics
from tasks.scoring.folded.layer import Folding, LayerFolding, LayerState
from tasks.scoring.folded.parts import ShardWindows
from tasks.scoring.folded.sample import drawn
from tasks.scoring.layer_scores import aggregate_layer, scores_of_sums
from tasks.scoring.scorers.uwm import MeanOfRatios
from tests.benchmarks.timing import by_turns, one_thread, ratio
from tests.cases.statistics import statistics_rows

_OUT, _IN, _BATCH = 768, 3072, 32
_CHOSEN = EncoderConfig(layers="x", weight_by_magnitude=False, statistics="folded")


def shards_of(n_shards: int, n_pairs: int) -> Iterator[list[pa.RecordBatch]]:
    """Statistics as a forward pass gives them for one ViT-B layer: log-normal by channel and sample."""
    generator = np.random.default_rng(0)
    base = np.exp(generator.normal(0, 0.7, _IN)).astype(np.float32)
    for shard in range(n_shards):
        batches = []
        for start in range(0, n_pairs, _BATCH // 2):
            norm = 3 * base * np.exp(generator.normal(0, 0.25, (_BATCH, _IN))).astype(np.float32)
            std = norm / 7 * np.exp(generator.normal(0, 0.1, (_BATCH, _IN))).astype(np.float32)
            ids = [f"{shard}/{start + row // 2}" for row in range(_BATCH)]
            sides = ["safe", "unsafe"] * (_BATCH // 2)
            batches.append(statistics_rows(ids, sides, [None] * _BATCH, torch.from_numpy(norm), torch.from_numpy(std)))
        yield batches


def keep_rows(shards: Iterator[list[pa.RecordBatch]], folder: Path) -> None:
    """As the pass does without folding: a Parquet file a shard, hashed."""
    for number, batches in enumerate(shards):
        path = folder / f"{number:06d}.parquet"
        with TableWriter({path: batches[0].schema}) as writer:
            for batch in batches:
                writer.write({path: batch})
        describe_files(folder, [path.name])


def keep_folded(shards: Iterator[list[pa.RecordBatch]], layer: LayerFolding, folder: Path) -> LayerState:
    """Each shard's sums to disk, joined with its neighbours' as soon as both are there; what the whole set comes to."""
    counts: dict[tuple[int, int], Any] = {}

    def keep(node: tuple[int, int], write: Callable[[Path], Any]) -> None:
        place = folder / f"{node[0]}-{node[1]}"
        counts[node] = write(place)
        describe_files(place, [path.relative_to(place).as_posix() for path in place.rglob("*.parquet")])

    def read(node: tuple[int, int]) -> LayerState:
        place = folder / f"{node[0]}-{node[1]}"
        state = layer.read(place / "layer", counts[node])
        shutil.rmtree(place)
        return state

    n_shards = 0
    for number, batches in enumerate(shards):
        ids = [each for batch in batches for each in batch.column("pair_id").to_pylist()]
        windows = ShardWindows(layer, batches[0].schema, drawn(ids, layer.sample_pairs))
        for batch in batches:
            windows.take(batch)
        keep((number, 1), lambda place, windows=windows: windows.end(Build(_RECIPE, place, Parts(place)), "layer"))
        n_shards, span = number + 1, 1
        while n_shards % (2 * span) == 0:
            halves = (n_shards - 2 * span, span), (n_shards - span, span)
            state = layer.join(*(read(half) for half in halves))
            keep((n_shards - 2 * span, 2 * span), lambda place, state=state: _written(layer, state, place))
            span *= 2
    # The numbers of shards here are powers of two: the last node is the set.
    return layer.read(folder / f"0-{n_shards}" / "layer", counts[0, n_shards])


_RECIPE = Recipe(kind="x", code="x")


def _written(layer: LayerFolding, state: LayerState, place: Path) -> dict[str, int] | None:
    layer.write(state, place / "layer")
    return dict(state.sums.counts) if hasattr(state, "sums") else None


def _weight() -> Tensor:
    return torch.randn(_OUT, _IN, generator=torch.Generator().manual_seed(0))


def folded_over_rows() -> dict[str, Any]:
    """One ViT-B layer, 4 shards of 1,024 pairs, from what a forward pass gives to scores, one thread; equal to the bit."""
    shards, weight = list(shards_of(4, 1024)), _weight()
    found: dict[str, Tensor] = {}
    size: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name, one_thread():

        def by_rows() -> None:
            folder = _fresh(Path(name) / "rows")
            keep_rows(iter(shards), folder)
            found["rows"], _ = aggregate_layer(LayerStatistics(folder, None), MeanOfRatios(weight))
            size["rows"] = _size(folder)

        def by_sums() -> None:
            folder = _fresh(Path(name) / "folded")
            layer = LayerFolding(weight, Folding(_CHOSEN, None), "x")
            state = keep_folded(iter(shards), layer, folder)
            found["folded"], _ = scores_of_sums(layer.scored(state))
            size["folded"] = _size(folder)

        rows, folded = by_turns(by_rows, by_sums, repeats=3)
    if not torch.equal(found["rows"], found["folded"]):
        raise AssertionError("scores of folded statistics are not those of rows")
    return {"bytes": size["folded"] / size["rows"], "rows_seconds": rows, "folded_seconds": folded}


def folded_bytes_over_rows() -> dict[str, Any]:
    """What stays on the disk for a ViT-B layer of 4 shards of 1,024 pairs; of more shards the share falls further."""
    return ratio(folded_over_rows()["bytes"], "<= 0.25")


def folded_time_over_rows() -> dict[str, Any]:
    """From what a forward pass gives to scores; see `folded_over_rows`."""
    found = folded_over_rows()
    seconds = {name: found[name] for name in ("rows_seconds", "folded_seconds")}
    return ratio(seconds["folded_seconds"] / seconds["rows_seconds"], "<= 1", **seconds)


def folded_memory_16x_over_1x_pairs() -> dict[str, Any]:
    """Folding 1,024 and 16,384 pairs of one ViT-B layer, shards of 512."""
    peaks = {n: _peak_mb(n // 512) for n in (1_024, 16_384)}
    return ratio(peaks[16_384] / peaks[1_024], "<= 1.15", peak_mb_1024=peaks[1_024], peak_mb_16384=peaks[16_384])


_CHILD = """
import sys, tempfile
from pathlib import Path
from tests.benchmarks.folded import fold_alone
fold_alone(int(sys.argv[1]))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def fold_alone(n_shards: int) -> None:
    """Fold so many shards of 512 pairs, which are made one at a time."""
    layer = LayerFolding(_weight(), Folding(_CHOSEN, None), "x")
    with tempfile.TemporaryDirectory() as name:
        scores_of_sums(layer.scored(keep_folded(shards_of(n_shards, 512), layer, Path(name))))


def _peak_mb(n_shards: int) -> float:
    command = [sys.executable, "-c", _CHILD, str(n_shards)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1]) / 1024


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))
