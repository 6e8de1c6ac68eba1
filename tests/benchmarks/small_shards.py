"""What many small shards cost over few large ones: the same pairs, extracted and scored."""

import tempfile
import time
from pathlib import Path
from typing import Any

from data_specs.run_config import RunConfig
from tasks.activations.task import extract_activations
from tasks.encoders.loading import load_model
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.scoring.task import score_by_activations
from tasks.shards.inspection import inspect_shard
from tasks.shards.plan import plan_reading
from tests.benchmarks.timing import ratio
from tests.cases.models import write_benchmark_model
from tests.cases.shard_files import write_tar
from tests.cases.small_run import prefect_here

_N_PAIRS = 2000


def small_shards_over_large() -> dict[str, Any]:
    """500 shards of 4 pairs over 5 of 400, captions of a text tower of 4 layers of width 256."""
    from flows.server.temporary import TemporaryServer

    server = TemporaryServer()
    server.wait()
    try:
        with tempfile.TemporaryDirectory() as name, prefect_here(server.api_url):
            folder = Path(name)
            loaded = load_model(write_benchmark_model(folder))
            seconds = {}
            for per_shard in (400, 4, 400, 4):
                store = Store(folder / f"store-{len(seconds)}-{per_shard}-{time.monotonic_ns()}")
                seconds.setdefault(per_shard, []).append(_seconds(folder / str(per_shard), per_shard, loaded, store))
    finally:
        server.stop()
    extraction, scores = (min(pair[i] for pair in seconds[4]) / min(pair[i] for pair in seconds[400]) for i in range(2))
    return ratio(max(extraction, scores), "<= 1.5", extraction=extraction, scores=scores)


def _seconds(folder: Path, per_shard: int, loaded: Any, store: Store) -> tuple[float, float]:
    if not folder.exists():
        folder.mkdir()
        for start in range(0, _N_PAIRS, per_shard):
            members = [
                (f"{i:06d}.{side}.txt", f"a {side} picture number {i} of many".encode())
                for i in range(start, start + per_shard)
                for side in ("safe", "unsafe")
            ]
            write_tar(folder / f"{start:06d}.tar", members)
    shard = {"shards": ["/nowhere.tar"]}
    model = loaded.reference.config.model_dump()
    config = RunConfig.model_validate({"name": "bench", "model": model, "calibration": shard, "evaluation": shard})
    context = RunContext()
    shards = [inspect_shard(path.name, None, path) for path in sorted(folder.glob("*.tar"))]
    plans = plan_reading(shards, "text", None)
    start = time.perf_counter()
    made = extract_activations("text", "mlp_output", plans, loaded, config, store, context)
    middle = time.perf_counter()
    chosen = config.text.model_copy(update={"layers": "mlp_output"})
    score_by_activations.fn("text", chosen, made.ref, loaded, None, store, context)
    return middle - start, time.perf_counter() - middle
