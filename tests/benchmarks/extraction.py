"""What observing costs: forward + statistics + Parquet, over the bare forward."""

import tempfile
from pathlib import Path
from typing import Any

import open_clip
import pyarrow as pa
import torch

from data_specs.run_config import ModelConfig
from tasks.activations.capture import StatisticsObserver
from tasks.encoders.architecture import build_model, describe_architecture
from tasks.encoders.forward import encode, forward_precision
from tasks.extraction.table_writer import TableWriter
from tests.benchmarks.timing import by_turns, ratio

_IMAGES = 32


def extract_over_forward() -> dict[str, Any]:
    """ViT-B-32, random weights, 32 images; the bare forward is open_clip's model as it comes."""
    bare = open_clip.create_model("ViT-B-32").eval()
    model, _, _ = build_model(describe_architecture(ModelConfig(architecture="ViT-B-32", weights="openai")))
    images = torch.randn(_IMAGES, 3, 224, 224)
    identity = {
        "pair_id": pa.array([f"digest/{row // 2}" for row in range(_IMAGES)]),
        "content": pa.array(["safe", "unsafe"] * (_IMAGES // 2)),
        "tag": pa.array([None] * _IMAGES, pa.string()),
    }
    device = torch.device("cpu")

    def forward() -> None:
        with torch.inference_mode():
            bare.encode_image(images)

    with tempfile.TemporaryDirectory() as folder, StatisticsObserver(model, "vision", "mlp_output") as observer:
        files = {name: Path(folder) / name / "rows.parquet" for name in observer.schemas()}

        def extract() -> None:
            with TableWriter({files[name]: schema for name, schema in observer.schemas().items()}) as writer:
                observer.prepare(None)
                with forward_precision("fp32", device):
                    rows = observer.rows(identity, encode(model, "vision", images))
                writer.write({files[name]: batch for name, batch in rows.items()})

        plain, observed = by_turns(forward, extract, repeats=7)
    return ratio(observed / plain, "<= 1.15", forward_seconds=plain, extract_seconds=observed)
