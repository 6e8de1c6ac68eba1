"""Every model family through the whole of `make_safe`, without a download: the edit changes what it lists and no more."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data_specs.config_file import parse_config
from data_specs.run_result import RunResult
from flows.make_safe import make_safe
from tasks.encoders.loading import load_model
from tests.flows.small_run import write_run
from tests.support import TINY_CLIP, TINY_COCA, TINY_SIGLIP, tiny_model, write_tiny_clip_model, write_toy_tokenizer

RESBLOCKS = ("attn.out_proj", "mlp.c_proj")
# The tokenizer of open_clip's own towers knows 49,408 tokens; the toy one of the SigLIP model knows 64.
WORDS = {"vocab_size": 49408}
Edited = tuple[RunResult, dict[str, torch.Tensor]]


def with_words(model_cfg: dict[str, Any]) -> dict[str, Any]:
    parts = {name: model_cfg[name] | WORDS for name in ("text_cfg", "multimodal_cfg") if name in model_cfg}
    return {**model_cfg, **parts}


def open_clip_files(folder: Path, model_cfg: dict[str, Any]) -> dict[str, str]:
    (folder / "family.json").write_text(json.dumps(model_cfg), encoding="utf-8")
    save_file(tiny_model(model_cfg).state_dict(), folder / "family.safetensors")
    return {"architecture": "family.json", "weights": "family.safetensors"}


def plain(folder: Path) -> dict[str, str]:
    return open_clip_files(folder, with_words(TINY_CLIP))


def siglip(folder: Path) -> dict[str, str]:
    write_toy_tokenizer(folder / "tokenizer")
    return {**open_clip_files(folder, TINY_SIGLIP), "tokenizer": "tokenizer"}


def coca(folder: Path) -> dict[str, str]:
    return open_clip_files(folder, with_words(TINY_COCA))


def transformers(folder: Path) -> dict[str, str]:
    cfg = with_words(TINY_CLIP)
    write_tiny_clip_model(folder / "clip", cfg | {"quick_gelu": True})
    (folder / "family.json").write_text(json.dumps(cfg), encoding="utf-8")
    return {"architecture": "family.json", "weights": "clip"}


def layers(blocks: str, suffix: str, n: int = 2) -> set[str]:
    return {f"{blocks}.{i}.{suffix}" for i in range(n)}


FAMILIES: dict[str, tuple[Callable[[Path], dict[str, str]], set[str]]] = {
    "open_clip": (
        plain,
        layers("transformer.resblocks", "attn.out_proj") | layers("visual.transformer.resblocks", "mlp.c_proj"),
    ),
    "siglip": (
        siglip,
        layers("text.transformer.resblocks", "attn.out_proj") | layers("visual.trunk.blocks", "mlp.fc2", 6),
    ),
    "coca": (
        coca,
        layers("text.transformer.resblocks", "attn.out_proj") | layers("visual.transformer.resblocks", "mlp.c_proj"),
    ),
    "transformers": (
        transformers,
        layers("transformer.resblocks", "attn.out_proj") | layers("visual.transformer.resblocks", "mlp.c_proj"),
    ),
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    write_run(folder, calibration=6, test=6, per_shard=6)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_make_safe_edits_exactly_the_listed_weights_of_the_familys_layers(
    family: str, shards: Path, tmp_path: Path, api_url: str
) -> None:
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    write_model, expected_layers = FAMILIES[family]
    settings = {
        "name": family,
        "model": write_model(shards),
        "calibration": {"shards": ["calibration-000000.tar"]},
        "evaluation": {"shards": ["test-000000.tar"]},
        "text": {"tau": 0.9},
        "vision": {"tau": 0.9},
    }
    config = parse_config(settings, base=shards, source=family)
    quick = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False}
    with temporary_settings({PREFECT_API_URL: api_url, **quick}):
        result = make_safe(config, str(tmp_path), "cpu", 0)
    assert result.metrics["edited"]["n_pairs"] == 6
    places = {name: Path(place.path) for name, place in result.artifacts.items()}
    with safe_open(places["edit"] / "edit.safetensors", framework="pt") as file:
        edit = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert {name.removesuffix(".index") for name in edit if name.endswith(".index")} == expected_layers

    before = load_model(config.model).model.state_dict()
    after = load_file(places["model"] / "model.safetensors")
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        expected = tensor.clone().contiguous()
        layer = name.removesuffix(".weight")
        if name.endswith(".weight") and layer in expected_layers:
            index = edit[f"{layer}.index"]
            assert 0 < len(index) < expected.numel()
            assert torch.equal(edit[f"{layer}.original"], expected.view(-1)[index])
            expected.view(-1)[index] *= -1
        assert after[name].numpy().tobytes() == expected.numpy().tobytes(), name

    recipe = json.loads((places["activations.text"] / "manifest.json").read_text(encoding="utf-8"))["recipe"]
    tokenizer = recipe["settings"]["tokenizer"]
    assert (tokenizer or "").startswith("sha256:") == (family == "siglip")
    assert str(shards) not in json.dumps(recipe)
