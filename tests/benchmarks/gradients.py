"""Peak memory of gradient scores as the number of pairs grows; each size in a fresh child, so that peaks are its own."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch.nn.functional import normalize

from data_specs.schemas import embeddings_schema, pair_id
from tasks.embeddings.observer import FOLDER
from tasks.extraction.columns import vector_column
from tasks.extraction.table_writer import TableWriter
from tasks.shards.inspection import inspect_shard
from tests.benchmarks.timing import ratio
from tests.cases.shard_files import write_tar

_SHARD_PAIRS, _WIDTH = 128, 512


def gradient_scorer_memory_4x_over_1x_pairs() -> dict[str, Any]:
    """ViT-B-32's text encoder, gradient_safe_clip in batches of 256 pairs: 256 and 1,024 pairs."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for n_pairs in (256, 1024):
            place = Path(folder) / str(n_pairs)
            _write_set(place, n_pairs)
            peaks[n_pairs] = _peak_mb(place)
    return ratio(peaks[1024] / peaks[256], "<= 1.15", peak_mb_256=peaks[256], peak_mb_1024=peaks[1024])


def _write_set(folder: Path, n_pairs: int) -> None:
    """Shards of captions, and random embeddings of them as an embeddings artifact holds them."""
    (folder / "shards").mkdir(parents=True)
    schema = embeddings_schema(_WIDTH)
    generator = torch.Generator().manual_seed(n_pairs)
    for index in range(n_pairs // _SHARD_PAIRS):
        keys = [f"{index:03d}{i:04d}" for i in range(_SHARD_PAIRS)]
        members = [
            (f"{key}.{side}.{ending}", f"a {side} caption of {key}".encode())
            for key in keys
            for side in ("safe", "unsafe")
            for ending in ("txt", "png")
        ]
        shard = inspect_shard(f"{index}.tar", None, write_tar(folder / "shards" / f"{index:06d}.tar", members))
        for encoder in ("text", "vision"):
            vectors = normalize(torch.randn(2 * _SHARD_PAIRS, _WIDTH, generator=generator), dim=1)
            columns = [
                pa.array([pair_id(shard.sha256, key) for key in keys for _ in range(2)]),
                pa.array(["safe", "unsafe"] * _SHARD_PAIRS),
                pa.array([None] * 2 * _SHARD_PAIRS, pa.string()),
                vector_column(vectors),
            ]
            path = folder / encoder / FOLDER / f"{index:06d}-{shard.sha256[:12]}.parquet"
            with TableWriter({path: schema}) as writer:
                writer.write({path: pa.RecordBatch.from_arrays(columns, schema=schema)})


_CHILD = """
import json, sys
from pathlib import Path
import torch
from data_specs.manifest import Recipe
from data_specs.run_config import ModelConfig
from data_specs.schemas import layer_folder
from tasks.embeddings.pairs import PairsByShard
from tasks.encoders.architecture import build_model, describe_architecture
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.shard_pass import ShardPass, input_stream
from tasks.lineage.circumstances import RunContext
from tasks.lineage.finished_parts import Parts
from tasks.lineage.store import Build
from tasks.scoring.gradients.embedding_gradients import BatchGradients, gradients_of_safe
from tasks.scoring.gradients.gradient_pass import GradientFold
from tasks.scoring.gradients.sums import GradientLayer
from tasks.scoring.gradients.windows import pair_windows
from tasks.scoring.joined.layer import SUMMED
from tasks.scoring.scorers.gradient_safe_clip import redirection_loss
from tasks.shards.inspection import inspect_shard
from tasks.shards.plan import plan_reading

folder = Path(sys.argv[1])
architecture = describe_architecture(ModelConfig(architecture="ViT-B-32", weights="openai"))
model, preprocess, tokenizer = build_model(architecture)
loaded = LoadedModel(model, preprocess, tokenizer, architecture, {}, "random")
shards = [inspect_shard(path.name, None, path) for path in sorted((folder / "shards").glob("*.tar"))]
plans = plan_reading(shards, "text", None)

pairs, cpu = PairsByShard(folder / "text", folder / "vision"), torch.device("cpu")
digests = [plan.shard.sha256 for plan in plans]
windows = pair_windows([[name for name, _ in pairs.identities(each)] for each in digests], 256)
gradients = BatchGradients(pairs.read, "text", gradients_of_safe(redirection_loss), cpu).of
layers = target_layers(model, "text", "attention_output")
named = dict(zip(digests, windows, strict=True))
fold = GradientFold(loaded, "text", layers, gradients, named, contents=("safe",), precision="fp32", device=cpu)
stream = input_stream(loaded, "text", plans, batch_size=16, context=RunContext(), side="safe")
shard_pass = ShardPass(stream, plans, fold, stage="benchmark", max_bad_fraction=1.0)
joined = {}
for index in range(len(plans)):
    build = Build(Recipe(kind="sums", code="x"), folder / "sums", Parts(folder / "sums"))
    shard_pass.run_shard(index, build)
    for name in layers:
        state = GradientLayer().read(build.folder / layer_folder("text", name), build.counts[SUMMED])
        joined[name] = joined[name].join(state) if name in joined else state
counts = {"n_pairs": joined[next(iter(layers))].n_pairs}
# ru_maxrss would also count the parent, whose pages a forked child shares until it starts.
peak_kb = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
print(json.dumps({"peak_mb": peak_kb / 1024, **counts}))
"""


def _peak_mb(folder: Path) -> float:
    done = subprocess.run([sys.executable, "-c", _CHILD, str(folder)], capture_output=True, text=True, check=True)
    peak: float = json.loads(done.stdout.splitlines()[-1])["peak_mb"]
    return peak
