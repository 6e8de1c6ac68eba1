"""How the time of an extraction falls with processes, where a forward pass waits as a GPU's would.

There is no GPU for each process here, and two cores would only be divided among them. So every forward pass of a tiny
model waits for a fixed time on top of what it computes, and there are few pictures to decode, for which a machine with
so many GPUs has cores of each: what is measured is leasing, writing and locking. The processor's time of a part stands
beside it: what all workers take of it together must be far below what the machine's cores have, or they wait for these.
"""

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tasks.embeddings.observer import EmbeddingObserver
from tasks.encoders.loading import LoadedModel, load_model
from tasks.extraction.sets import Extraction, extract_set
from tasks.lineage.circumstances import RunContext
from tasks.lineage.cores import available_cores
from tasks.lineage.store import Store
from tasks.shards.plan import ShardPlan, plan_reading
from tasks.workers.local import LocalWorkers
from tests.benchmarks.timing import one_thread, ratio, seconds
from tests.cases.extracting import config_of, write_pair_shards
from tests.cases.models import write_tiny_model

# Enough parts that the last one, for which all others wait, is a small share; each takes 0.6 s.
_PARTS_A_WORKER, _BATCHES, _PAIRS_A_BATCH = 24, 2, 1
_WAIT_SECONDS = 0.3


class _WaitingObserver(EmbeddingObserver):
    """Keeps embeddings, once the GPU that is not there would have made them."""

    def prepare(self, valid: Tensor | None) -> None:
        time.sleep(_WAIT_SECONDS)


def waiting_observer(_model: nn.Module, width: int) -> _WaitingObserver:
    """The observer of any model; named by value, so that workers make their own."""
    return _WaitingObserver(width)


def scaling(n_workers: int) -> dict[str, Any]:
    """Time of one process for 24 parts of 0.6 s each over that of N processes for N times as many; start-up is not counted.

    `cpu_share` is what N processes take of this machine's cores, going by the one.
    """
    with tempfile.TemporaryDirectory() as name, one_thread():
        folder = Path(name)
        run = _Run(folder, _PARTS_A_WORKER * n_workers)
        workers = LocalWorkers(["cpu"] * (n_workers - 1))
        try:
            run.warm(workers, n_workers, folder / "warm")
            before = time.process_time()
            one = seconds(lambda: run.extract(run.plans[:_PARTS_A_WORKER], folder / "one"))
            cpu = time.process_time() - before
            several = seconds(lambda: run.extract(run.plans, folder / "several", workers))
        finally:
            workers.close()
    measured = {"one_seconds": one, "seconds": several, "cpu_seconds_a_part": cpu / _PARTS_A_WORKER}
    cpu_share = n_workers * cpu / one / available_cores()
    return ratio(one / several, ">= 0.9", **measured, cpu_share=cpu_share, workers=n_workers)


class _Run:
    def __init__(self, folder: Path, n_shards: int) -> None:
        model = write_tiny_model(folder)
        self._loaded: LoadedModel = load_model(model)
        self._config = config_of(model, batch_size=2 * _PAIRS_A_BATCH)
        shards = write_pair_shards(folder, [_BATCHES * _PAIRS_A_BATCH] * n_shards)
        self.plans = plan_reading(shards, "vision", None)

    def extract(self, plans: Sequence[ShardPlan], store: Path, workers: LocalWorkers | None = None) -> None:
        width = int(self._loaded.architecture.model_cfg["embed_dim"])
        observer = partial(waiting_observer, width=width)
        what = Extraction("embeddings.vision", "vision", observer, settings={}, code={"code": "x"}, label="scaling")
        context = RunContext(runner=workers)
        extract_set(what, plans, self._loaded, self._config, Store(store, hash_once=True), context)

    def warm(self, workers: LocalWorkers, n_workers: int, store: Path) -> None:
        """Let every worker start and load its model: each sees at least that nothing is left."""
        self.extract(self.plans[:n_workers], store, workers)
