"""Folded statistics against rows: bytes, time from statistics to scores, and memory as the number of pairs grows."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data_specs.manifest import Recipe
from data_specs.run_config import EncoderConfig
from data_specs.schemas import activation_stats_schema, layer_folder, pair_id
from tasks.extraction.parts import Part, RowPartMaker
from tasks.extraction.sets import MadeSet, RowSet, make_set
from tasks.extraction.shard_pass import ShardCounts
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import digest_of
from tasks.lineage.store import Build, Made, Store
from tasks.scoring.aggregate import LayerStatistics
from tasks.scoring.folded.by_tag import layer_folding
from tasks.scoring.folded.layer import AnyLayerFolding, Folding
from tasks.scoring.folded.parts import FoldedPartMaker
from tasks.scoring.joined.layer import SUMMED
from tasks.scoring.joined.sets import JoinedSet
from tasks.scoring.layer_scores import aggregate_layer, scores_of_sums
from tasks.scoring.scorers.uwm import MeanOfRatios
from tasks.shards.inspection import Shard
from tasks.shards.plan import ShardPlan
from tests.benchmarks.timing import by_turns, one_thread, ratio, seconds
from tests.cases.statistics import statistics_rows

_OUT, _IN, _BATCH = 768, 3072, 32
_SMALL_SHARD = 256
_CHOSEN = EncoderConfig(layers="x", weight_by_magnitude=False, statistics="folded")
_FOLDING = Folding(_CHOSEN, None)
_BY_TAG = Folding(_CHOSEN.model_copy(update={"sums_by_tag": True}), None)
_FOLDER = layer_folder("vision", "x")
_DIGEST = digest_of({"encoder": "x"})
_NO_MODEL: Any = SimpleNamespace(model=torch.nn.Identity())
_NO_STORE: Any = None


class Given:
    """Statistics of one ViT-B layer as a forward pass gives them, and the shards that they would be of."""

    def __init__(self, n_shards: int, n_pairs: int, *, at_once: bool = False, n_tags: int = 0) -> None:
        """Log-normal by channel and sample; all made now, or each shard's when it is read. Tags take turns."""
        self._tags = [f"tag {number}" for number in range(n_tags)] or [None]
        keys = tuple(map(str, range(n_pairs)))
        digests = [digest_of({"shard": number}) for number in range(n_shards)]
        self.plans = [ShardPlan(Shard(one, Path(one), one, 0, None, ()), keys, ()) for one in digests]
        self._made = {plan.shard.sha256: self._rows(plan) for plan in self.plans} if at_once else {}

    def schemas(self) -> dict[str, pa.Schema]:
        """As an observer's."""
        return {_FOLDER: activation_stats_schema(_IN)}

    def rows(self, plan: ShardPlan) -> list[pa.RecordBatch]:
        """The statistics of one shard, by batch."""
        return self._made.get(plan.shard.sha256) or self._rows(plan)

    def _rows(self, plan: ShardPlan) -> list[pa.RecordBatch]:
        base = np.exp(np.random.default_rng(0).normal(0, 0.7, _IN)).astype(np.float32)
        generator, batches = np.random.default_rng(int(plan.shard.sha256[:8], 16)), []
        for start in range(0, len(plan.keys), _BATCH // 2):
            norm = 3 * base * np.exp(generator.normal(0, 0.25, (_BATCH, _IN))).astype(np.float32)
            std = norm / 7 * np.exp(generator.normal(0, 0.1, (_BATCH, _IN))).astype(np.float32)
            ids = [pair_id(plan.shard.sha256, plan.keys[start + row // 2]) for row in range(_BATCH)]
            sides = ["safe", "unsafe"] * (_BATCH // 2)
            tags = [self._tags[(start + row // 2) % len(self._tags)] for row in range(_BATCH)]
            batches.append(statistics_rows(ids, sides, tags, torch.from_numpy(norm), torch.from_numpy(std)))
        return batches


@dataclass(frozen=True)
class _GivenPass:
    """A pass that reads no shard and runs no model."""

    given: Given
    plans: Sequence[ShardPlan]
    fold: Any

    def run_shard(self, index: int, build: Build) -> ShardCounts:
        plan, fold = self.plans[index], self.fold
        with fold.shard(plan, build):
            for rows in self.given.rows(plan):
                fold.keep({_FOLDER: rows})
        return ShardCounts(len(plan.keys), ())


@dataclass(frozen=True)
class _Rows(RowPartMaker):
    given: Given

    def shard_pass(self, parts: Sequence[Part], plans: Sequence[ShardPlan], *_: Any) -> Any:
        return _GivenPass(self.given, plans, self.fold(parts, _NO_MODEL, _NO_STORE, torch.device("cpu")))


@dataclass(frozen=True)
class _Sums(FoldedPartMaker):
    given: Given

    def layers(self, *_: Any) -> dict[str, AnyLayerFolding[Any]]:
        return {_FOLDER: layer_folding(_weight(), self.folding, "x")}

    def shard_pass(self, parts: Sequence[Part], plans: Sequence[ShardPlan], *_: Any) -> Any:
        return _GivenPass(self.given, plans, self.fold(parts, _NO_MODEL, _NO_STORE, torch.device("cpu")))


def _parts(given: Given) -> list[Part]:
    return [
        Part(
            Recipe(kind="activations.vision.part", inputs={"encoder": _DIGEST, "shard": plan.shard.sha256}, code="x"),
            plan.shard.location,
            plan.shard.path,
            plan.shard.sha256,
            None,
            None,
        )
        for plan in given.plans
    ]


def _maker(kind: Callable[..., Any], given: Given, **more: Any) -> Any:
    n_planned = sum(len(plan.keys) for plan in given.plans)
    named = {"model": None, "encoder": "vision", "observer": lambda _model: given, "precision": "fp32"}
    sized = {"batch_size": _BATCH, "max_bad_fraction": 0.01, "n_planned": n_planned}
    return kind(**named, **sized, stage="x", decoder="pillow", given=given, **more)


def _made(parted: MadeSet, store: Path) -> Made:
    shutil.rmtree(store, ignore_errors=True)
    return make_set(parted, _NO_MODEL, Store(store, hash_once=True), RunContext())


def rows_scores(given: Given, store: Path) -> Tensor:
    """Scores of statistics that are kept as rows."""
    made = _made(RowSet("activations.vision", _maker(_Rows, given), _parts(given), given.plans), store)
    return aggregate_layer(LayerStatistics(made.path / _FOLDER, None), MeanOfRatios(_weight()))[0]


def folded_scores(given: Given, store: Path, folding: Folding = _FOLDING) -> Tensor:
    """Scores of statistics that are kept as sums."""
    maker, code = _maker(_Sums, given, folding=folding), {"code": "x", "modules": {}}
    made = _made(JoinedSet("activations.vision", maker, _parts(given), given.plans, code), store)
    layer = layer_folding(_weight(), folding, "x")
    return scores_of_sums(layer.scored(layer.read_to_score(made.path / _FOLDER, made.manifest.counts[SUMMED])))[0]


@cache
def _weight() -> Tensor:
    return torch.randn(_OUT, _IN, generator=torch.Generator().manual_seed(0))


def folded_over_rows(n_pairs: int) -> dict[str, Any]:
    """One ViT-B layer, 4 shards of `n_pairs`, from what a forward pass gives to scores, one thread; equal to the bit."""
    given = Given(4, n_pairs, at_once=True)
    found: dict[str, Tensor] = {}
    with tempfile.TemporaryDirectory() as name, one_thread():
        rows_store, folded_store = Path(name) / "rows", Path(name) / "folded"

        def by_rows() -> None:
            found["rows"] = rows_scores(given, rows_store)

        def by_sums() -> None:
            found["folded"] = folded_scores(given, folded_store)

        rows, folded = by_turns(by_rows, by_sums, repeats=3)
        size = _size(folded_store) / _size(rows_store)
    if not torch.equal(found["rows"], found["folded"]):
        raise AssertionError("scores of folded statistics are not those of rows")
    return {"bytes": size, "rows_seconds": rows, "folded_seconds": folded}


def folded_bytes_over_rows() -> dict[str, Any]:
    """What stays on the disk for a ViT-B layer of 4 shards of 1,024 pairs; of more shards the share falls further."""
    return ratio(folded_over_rows(1024)["bytes"], "<= 0.25")


def folded_time_over_rows() -> dict[str, Any]:
    """From what a forward pass gives to scores, 8,192 pairs in 4 shards; see `folded_over_rows`.

    Each shard's sums and sample are written, and read again to be joined, which takes as long as some hundred pairs: of
    shards of 1,024 pairs the ratio stands beside it.
    """
    found, smaller = folded_over_rows(2048), folded_over_rows(1024)
    seconds = {name: found[name] for name in ("rows_seconds", "folded_seconds")}
    of_1024 = smaller["folded_seconds"] / smaller["rows_seconds"]
    return ratio(seconds["folded_seconds"] / seconds["rows_seconds"], "<= 1", **seconds, of_1024_pairs=of_1024)


def folded_memory_16x_over_1x_pairs() -> dict[str, Any]:
    """Folding 2,048 and 32,768 pairs of one ViT-B layer, shards of 256.

    With eight all that happens at once does happen: four are joined while the next ones are read.
    """
    peaks = {n: _alone(n // _SMALL_SHARD)["peak_mb"] for n in (2_048, 32_768)}
    return ratio(peaks[32_768] / peaks[2_048], "<= 1.15", peak_mb_2048=peaks[2_048], peak_mb_32768=peaks[32_768])


def memory_of_a_tag_over_two_sums() -> dict[str, Any]:
    """What each of 15 further tags takes in memory, over the sums of two shards: one is written while the next is read."""
    one, many = (_alone(8, n_tags) for n_tags in (1, 16))
    a_tag = (many["peak_mb"] - one["peak_mb"]) / 15
    told = {f"{name}_{n}_tags": found[name] for n, found in ((1, one), (16, many)) for name in found}
    return ratio(a_tag / (2 * 8 * _OUT * _IN / 2**20), "<= 1.5", **told)


_CHILD = """
import json, sys
from tests.benchmarks.folded import fold_alone
print(json.dumps(fold_alone(*map(int, sys.argv[1:]))))
"""


def fold_alone(n_shards: int, n_tags: int) -> dict[str, float]:
    """Fold so many shards of 256 pairs, which are made one at a time; of no tags one sum."""
    with tempfile.TemporaryDirectory() as name, one_thread():
        given, folding = Given(n_shards, _SMALL_SHARD, n_tags=n_tags), _BY_TAG if n_tags else _FOLDING
        took = seconds(lambda: folded_scores(given, Path(name), folding))
        size = max(path.stat().st_size for path in Path(name).rglob("sums.parquet"))
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"peak_mb": int(peak.split()[1]) / 1024, "sums_file_mb": size / 1e6, "seconds": took}


def _alone(n_shards: int, n_tags: int = 0) -> dict[str, float]:
    command = [sys.executable, "-c", _CHILD, str(n_shards), str(n_tags)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _size(store: Path) -> int:
    # The files of a set of rows are links to those of its parts.
    found = {path.stat().st_ino: path.stat().st_size for path in store.rglob("*.parquet")}
    return sum(found.values())
