"""What observing costs: forward + statistics + Parquet, over the bare forward."""

import tempfile
from pathlib import Path
from typing import Any

import open_clip
import pyarrow as pa
import torch
from torch import Tensor, nn

from data_specs.run_config import Encoder, ModelConfig
from tasks.activations.capture import StatisticsObserver
from tasks.encoders.architecture import build_model, describe_architecture
from tasks.encoders.forward import encode, forward_precision
from tasks.encoders.tokens import valid_text_tokens
from tasks.extraction.table_writer import TableWriter
from tests.benchmarks.timing import by_turns, ratio

_INPUTS = 32
_LAYERS = {"vision": "mlp_output", "text": "attention_output"}


def extract_over_forward() -> dict[str, Any]:
    """ViT-B-32, random weights, 32 images and 32 texts; the bare forward is open_clip's model as it comes. Medians of five.

    Both with OpenAI's activation, which costs a forward pass several percent more than the GELU of other weights.
    """
    bare = open_clip.create_model("ViT-B-32", force_quick_gelu=True).eval()
    model, _, _ = build_model(describe_architecture(ModelConfig(architecture="ViT-B-32", weights="openai")))
    texts = torch.randint(1, 49_000, (_INPUTS, 77))
    texts[:, 40] = 49_407  # ends them
    seconds = {
        "vision": _seconds(bare, model, "vision", torch.randn(_INPUTS, 3, 224, 224)),
        "text": _seconds(bare, model, "text", texts),
    }
    found = {encoder: observed / plain for encoder, (plain, observed) in seconds.items()}
    plain, observed = seconds["vision"]
    return ratio(max(found.values()), "<= 1.10", **found, forward_seconds=plain, extract_seconds=observed)


def _seconds(bare: nn.Module, model: nn.Module, encoder: Encoder, inputs: Tensor) -> tuple[float, float]:
    """Of the bare forward pass, and of one that is observed and written."""
    identity = {
        "pair_id": pa.array([f"digest/{row // 2}" for row in range(_INPUTS)]),
        "content": pa.array(["safe", "unsafe"] * (_INPUTS // 2)),
        "tag": pa.array([None] * _INPUTS, pa.string()),
    }
    device = torch.device("cpu")

    def forward() -> None:
        with torch.inference_mode():
            encode(bare, encoder, inputs)

    with tempfile.TemporaryDirectory() as folder, StatisticsObserver(model, encoder, _LAYERS[encoder]) as observer:
        files = {name: Path(folder) / name / "rows.parquet" for name in observer.schemas()}

        def extract() -> None:
            with TableWriter({files[name]: schema for name, schema in observer.schemas().items()}) as writer:
                observer.prepare(valid_text_tokens(model, inputs) if encoder == "text" else None)
                with forward_precision("fp32", device):
                    rows = observer.rows(identity, encode(model, encoder, inputs))
                writer.write({files[name]: batch for name, batch in rows.items()})

        return by_turns(forward, extract, repeats=5)
