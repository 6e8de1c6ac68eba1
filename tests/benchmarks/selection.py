"""Selection, over a sort of float64 scores with their indices in torch; with the summary, over plain reading and sorting."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from data_specs.run_config import Encoder, Rule
from data_specs.schemas import layer_folder, scores_schema
from tasks.scoring.layer_scores import write_layer
from tasks.scoring.summary import write_summary
from tasks.selection.rules import select, select_above
from tasks.selection.scores_table import SCORES_FILE, SUMMARY_FILE, layer_files, read_layer, tabulated_selections
from tests.benchmarks.timing import by_turns, one_thread, ratio

_SHAPE = (1024, 4096)
_TAU = 0.98


def selection_speedup_over_sort() -> dict[str, Any]:
    """4.2 million scores, score_mass at tau 0.98."""
    scores = np.random.default_rng(0).lognormal(size=_SHAPE).astype(np.float32)
    wide = torch.from_numpy(scores).double().view(-1)

    def by_sort() -> torch.Tensor:
        values, index = torch.sort(wide)
        return index[torch.cumsum(values / values.sum(), dim=0) > _TAU].sort().values

    np.testing.assert_array_equal(select(scores, "score_mass", _TAU).index, by_sort().numpy())
    slow, fast = by_turns(by_sort, lambda: select(scores, "score_mass", _TAU), repeats=7)
    return ratio(slow / fast, ">= 4", sort_seconds=slow, select_seconds=fast)


def summary_and_selection_seconds() -> dict[str, Any]:
    """The processor's seconds for the summary of 12 layers of ViT-B-32's vision tower, 28 million weights, and selection.

    Beside them, what cannot be done without, done plainly: those are artifacts of their own, so that each layer's file
    is read for the summary and again for the selection, and the summary needs the order of the scores. Plainly, pyarrow
    reads each file twice, and numpy sorts what it held once.
    """
    generator = np.random.default_rng(0)
    layers = {f"blocks.{number}.out": generator.lognormal(size=(768, 3072)).astype(np.float32) for number in range(12)}
    asked: dict[Encoder, list[tuple[Rule, float]]] = {"vision": [("score_mass", _TAU)]}
    before = pa.cpu_count()
    with tempfile.TemporaryDirectory() as name, one_thread():
        pa.set_cpu_count(1)
        for layer, values in layers.items():
            path = Path(name) / layer_folder("vision", layer) / SCORES_FILE
            path.parent.mkdir(parents=True)
            write_layer(torch.from_numpy(values), path, scores_schema)

        def ours() -> None:
            write_summary(Path(name), dict.fromkeys(layers, 16), asked, Path(name) / SUMMARY_FILE)
            known = tabulated_selections(Path(name))
            for layer, (_, path) in layer_files(Path(name)).items():
                select_above(read_layer(path, "score"), *known[layer, "score_mass", _TAU])

        def plainly() -> None:
            for _, path in layer_files(Path(name)).values():
                np.sort(_plainly_read(path)), _plainly_read(path)

        plain, both = by_turns(plainly, ours, repeats=9, clock=time.process_time)
    pa.set_cpu_count(before)
    found = {"value": round(both, 3), "unit": "CPU seconds of one core", "limit": "<= 0.5"}
    return found | {"plain_seconds": round(plain, 3), "over_plain": round(both / plain, 3)}


def _plainly_read(path: Path) -> NDArray[np.float32]:
    values: NDArray[np.float32] = pq.read_table(path).column("score").combine_chunks().flatten().to_numpy()
    return values
