"""What many small shards cost over few large ones: the same pairs, extracted and scored."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from data_specs.manifest import ArtifactRef
from data_specs.run_config import ModelConfig, RunConfig
from tasks.activations.task import statistics_of
from tasks.encoders.loading import load_model
from tasks.extraction.sets import extract_set
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.scoring.task import CalibrationRows, score_by_activations
from tasks.shards.inspection import inspect_shard
from tasks.shards.plan import ShardPlan, plan_reading
from tests.benchmarks.timing import one_thread, ratio, seconds
from tests.cases.shard_files import image_bytes, write_tar

_N_PAIRS, _SMALL, _LARGE = 2000, 4, 400
_BLOCKS = 5
_PIXELS = 64
# Four layers of ViT-B's width on small pictures: files as large as ViT-B's, and a forward pass of a fifth of its time.
_MODEL = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": _PIXELS, "layers": 4, "width": 768, "head_width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


def small_shards_over_large() -> dict[str, Any]:
    """500 shards of 4 pairs over 5 of 400: JPEGs of 64 pixels, four vision layers of ViT-B's width, one thread."""
    with tempfile.TemporaryDirectory() as name, one_thread():
        folder = Path(name)
        run = _Run(folder)
        plans = {n: _plans(folder / str(n), n) for n in (_LARGE, _SMALL)}
        stores = {n: Store(folder / f"store-{n}", hash_once=True) for n in plans}
        run.extract(plans[_SMALL][:2], Store(folder / "warm"))
        extraction, scores = dict.fromkeys(plans, 0.0), dict.fromkeys(plans, 0.0)
        # By turns a large shard, and its share of the small ones; the sets of all of them last.
        for block in (*range(_BLOCKS), None):
            for n, of_size in plans.items():
                each = len(of_size) // _BLOCKS
                some = of_size if block is None else of_size[block * each : (block + 1) * each]
                extraction[n] += seconds(lambda some=some, n=n: run.extract(some, stores[n]))
        made = {n: run.extract(plans[n], stores[n]) for n in plans}
        for _ in range(2):
            for n, ref in made.items():
                scores[n] += seconds(lambda n=n, ref=ref: run.score(ref, stores[n]))
                shutil.rmtree(stores[n].root / "layer_scores.vision")
    found = {"extraction": extraction[_SMALL] / extraction[_LARGE], "scores": scores[_SMALL] / scores[_LARGE]}
    taken = {"small_seconds": extraction[_SMALL], "large_seconds": extraction[_LARGE]}
    return ratio(max(found.values()), "<= 1.5", **found, **taken)


class _Run:
    """A model and its settings."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        (folder / "model.json").write_text(json.dumps(_MODEL), encoding="utf-8")
        save_file(open_clip.CLIP(**_MODEL).state_dict(), folder / "model.safetensors")
        model = ModelConfig(architecture=str(folder / "model.json"), weights=str(folder / "model.safetensors"))
        named = {"shards": ["/nowhere.tar"]}
        self._loaded = load_model(model)
        self._config = RunConfig.model_validate(
            {"name": "bench", "model": model.model_dump(), "calibration": named, "evaluation": named}
        )

    def extract(self, plans: Sequence[ShardPlan], store: Store) -> ArtifactRef:
        what = statistics_of("vision", "mlp_output", self._loaded)
        return extract_set(what, plans, self._loaded, self._config, store, RunContext()).ref

    def score(self, activations: ArtifactRef, store: Store) -> None:
        chosen = self._config.encoder("vision")
        rows = CalibrationRows(activations, None)
        score_by_activations.fn("vision", chosen, rows, self._loaded, store, RunContext())


def _plans(folder: Path, per_shard: int) -> list[ShardPlan]:
    folder.mkdir()
    pictures = [image_bytes(seed, "JPEG", (_PIXELS, _PIXELS)) for seed in range(64)]
    shards = []
    for start in range(0, _N_PAIRS, per_shard):
        members = [
            (f"{i:06d}.{side}.jpg", pictures[(2 * i + number) % len(pictures)])
            for i in range(start, start + per_shard)
            for number, side in enumerate(("safe", "unsafe"))
        ]
        path = write_tar(folder / f"{start:06d}.tar", members)
        shards.append(inspect_shard(path.name, None, path))
    return plan_reading(shards, "vision", None)
