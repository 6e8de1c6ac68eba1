"""How much of a GPU's time is its own: pairs a second of the pipeline's vision pass over the bare forward pass.

`python -m tests.benchmarks.gpu` on a machine with a CUDA device; elsewhere it says that there is none. It decodes JPEGs from
shards with worker processes, takes statistics of all MLP outputs, and writes their Parquet files, as a run does.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from data_specs.run_config import ModelConfig, RunConfig
from tasks.activations.task import statistics_of
from tasks.encoders.forward import encode, forward_precision
from tasks.encoders.loading import load_model
from tasks.extraction.sets import extract_set
from tasks.lineage.circumstances import RunContext
from tasks.lineage.cores import usual_workers
from tasks.lineage.store import Store
from tasks.shards.inspection import inspect_shard
from tasks.shards.plan import ShardPlan, plan_reading
from tests.cases.shard_files import image_bytes, write_tar

_ARCHITECTURE, _PRECISION = "ViT-L-14", "bf16"
_PAIRS, _PER_SHARD, _BATCH, _PIXELS = 2_048, 512, 256, 512
_FORWARDS = 20


def pairs_a_second() -> dict[str, Any]:
    """ViT-L/14 in bf16, random weights, pairs of JPEGs of 512 pixels decoded by torchvision."""
    device = torch.device("cuda")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        save_file(open_clip.create_model(_ARCHITECTURE).state_dict(), folder / "model.safetensors")
        model = ModelConfig(architecture=_ARCHITECTURE, weights=str(folder / "model.safetensors"), quick_gelu=False)
        loaded = load_model(model)
        images = torch.randn(_BATCH, 3, 224, 224, device=device)
        vision = loaded.model.to(device)

        def forward() -> None:
            with forward_precision(_PRECISION, device):
                for _ in range(_FORWARDS):
                    encode(vision, "vision", images)
            torch.cuda.synchronize()

        forward()
        bare = _FORWARDS * _BATCH / 2 / _seconds(forward)
        config = _config(model)
        context = RunContext(device="cuda", workers=usual_workers("cuda"), precision=_PRECISION)
        what, plans = statistics_of("vision", "mlp_output", loaded), _plans(folder)

        def extract(store: str, some: list[ShardPlan]) -> None:
            extract_set(what, some, loaded, config, Store(folder / store), context)

        extract("warm", plans[:1])
        whole = _PAIRS / _seconds(lambda: extract("store", plans))
    return {
        "name": "gpu_pairs_a_second",
        "value": round(bare / whole, 3),
        "unit": "ratio",
        "limit": "<= 1.15",
        "pairs_a_second": round(whole, 1),
        "bare_pairs_a_second": round(bare, 1),
        "seconds_of_8192_pairs": round(8192 / whole, 1),
        "workers": context.workers,
        "device": torch.cuda.get_device_name(device),
    }


def _config(model: ModelConfig) -> RunConfig:
    named = {"shards": ["/nowhere.tar"]}
    how = {"precision": _PRECISION, "batch_size": _BATCH, "decoder": "torchvision"}
    settings = {"name": "gpu", "model": model.model_dump(), "calibration": named, "evaluation": named, **how}
    return RunConfig.model_validate(settings)


def _plans(folder: Path) -> list[ShardPlan]:
    pictures = [image_bytes(seed, "JPEG", (_PIXELS, _PIXELS)) for seed in range(64)]
    shards = []
    for start in range(0, _PAIRS, _PER_SHARD):
        members = [
            (f"{i:06d}.{side}.jpg", pictures[(2 * i + number) % len(pictures)])
            for i in range(start, start + _PER_SHARD)
            for number, side in enumerate(("safe", "unsafe"))
        ]
        path = write_tar(folder / f"{start:06d}.tar", members)
        shards.append(inspect_shard(path.name, None, path))
    return plan_reading(shards, "vision", None)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    found = (
        pairs_a_second() if torch.cuda.is_available() else {"name": "gpu_pairs_a_second", "skipped": "no CUDA device"}
    )
    sys.stdout.write(json.dumps(found) + "\n")
