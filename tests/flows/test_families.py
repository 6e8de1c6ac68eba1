"""Every model family through the whole of `make_safe`, without a download: the edit changes what it lists and no more."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data_specs.config_file import parse_config
from data_specs.errors import SpecError
from data_specs.run_config import RunConfig
from data_specs.run_result import RunResult
from flows.make_safe import make_safe
from tasks.encoders.loading import load_model, load_weights
from tasks.exporting.folder import export_model
from tasks.lineage.store import Store
from tests.cases.models import TINY_CLIP, TINY_COCA, TINY_SIGLIP, tiny_model, write_tiny_clip_model, write_toy_tokenizer
from tests.cases.small_run import write_run

# The tokenizer of open_clip's own towers knows 49,408 tokens; the toy one of the SigLIP model knows 64.
WORDS = {"vocab_size": 49408}


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


@dataclass(frozen=True)
class Made:
    """One family's run."""

    family: str
    config: RunConfig
    result: RunResult

    def place(self, name: str) -> Path:
        return Path(self.result.artifacts[name].path)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    write_run(folder, calibration=6, test=6, per_shard=6)
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def made(request: pytest.FixtureRequest, shards: Path, tmp_path_factory: pytest.TempPathFactory, api_url: str) -> Made:
    from prefect import settings as prefect

    family = request.param
    settings = {
        "name": family,
        "model": FAMILIES[family][0](shards),
        "calibration": {"shards": ["calibration-000000.tar"]},
        "evaluation": {"shards": ["test-000000.tar"]},
        "text": {"tau": 0.9},
        "vision": {"tau": 0.9},
    }
    config = parse_config(settings, base=shards, source=family)
    quick = {prefect.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, prefect.PREFECT_LOGGING_TO_API_ENABLED: False}
    with prefect.temporary_settings({prefect.PREFECT_API_URL: api_url, **quick}):
        return Made(family, config, make_safe(config, str(tmp_path_factory.mktemp(family)), "cpu", 0))


def test_make_safe_edits_exactly_the_listed_weights_of_the_familys_layers(made: Made) -> None:
    expected_layers = FAMILIES[made.family][1]
    assert made.result.metrics["edited"]["n_pairs"] == 6
    with safe_open(made.place("edit") / "edit.safetensors", framework="pt") as file:
        edit = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert {name.removesuffix(".index") for name in edit if name.endswith(".index")} == expected_layers

    before = load_model(made.config.model).model.state_dict()
    after = load_file(made.place("model") / "model.safetensors")
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


def test_the_tokenizer_enters_the_recipe_by_content_and_not_by_place(made: Made, shards: Path) -> None:
    recipe = json.loads((made.place("activations.text") / "manifest.json").read_text(encoding="utf-8"))["recipe"]
    assert (recipe["settings"]["tokenizer"] or "").startswith("sha256:") == (made.family == "siglip")
    assert str(shards) not in json.dumps(recipe)


def test_the_edited_model_is_exported_to_open_clip_with_a_card_of_its_run(
    made: Made, shards: Path, tmp_path: Path
) -> None:
    tokenizer = shards / "tokenizer" if made.family == "siglip" else None
    version = made.result.artifacts["model"].version
    folder = export_model(Store(made.result.store), version[:20], "open_clip", tmp_path / "out", tokenizer)
    model = open_clip.create_model(f"local-dir:{folder}").state_dict()
    expected = load_file(made.place("model") / "model.safetensors")
    assert all(model[name].numpy().tobytes() == tensor.numpy().tobytes() for name, tensor in expected.items())
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(["a safe picture"])
    assert torch.equal(ids, load_model(made.config.model).tokenizer(["a safe picture"]))

    card = re.sub(r"\\(.)", r"\1", (folder / "README.md").read_text(encoding="utf-8"))
    manifest = json.loads((made.place("edit") / "manifest.json").read_text(encoding="utf-8"))
    counts = [count for layer, count in manifest["counts"]["layers"].items() if layer.startswith("visual.")]
    n_selected = sum(count["n_selected"] for count in counts)
    share = n_selected / sum(count["n_weights"] for count in counts)
    assert f"| vision | uwm | score_mass | 0.9 | -1 | {len(counts)} | {n_selected:,} of " in card
    assert f"| {share:.3%} |" in card
    for digest in (manifest["recipe"]["inputs"]["model"], version, made.result.artifacts["edit"].version):
        assert digest in card
    for name in ("calibration", "test"):
        shard = shards / f"{name}-000000.tar"
        digest = hashlib.sha256(shard.read_bytes()).hexdigest()
        assert f"{name}-000000.tar | {digest} |" in card
    assert str(shards) not in card
    for model_name in ("original", "edited"):
        assert f"{made.result.metrics[model_name]['GS']:.1f}" in card
    assert "On 6 pairs:" in card
    assert "not measured" not in card


def test_plain_clip_towers_are_exported_to_transformers_and_others_are_refused(made: Made, tmp_path: Path) -> None:
    version = made.result.artifacts["model"].version
    store = Store(made.result.store)
    if made.family in ("siglip", "coca"):
        with pytest.raises(SpecError, match="transformers' CLIPModel cannot express this model"):
            export_model(store, version, "transformers", tmp_path / "out")
        assert list(tmp_path.iterdir()) == []
        return
    from transformers import CLIPModel

    theirs = CLIPModel.from_pretrained(export_model(store, version, "transformers", tmp_path / "out"))
    edited = load_weights(
        load_model(made.config.model).architecture,
        load_file(made.place("model") / "model.safetensors"),
        source="edited",
    )
    assert theirs.config.text_config.hidden_act == ("quick_gelu" if made.family == "transformers" else "gelu")
    images, ids = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), edited.tokenizer(["a", "b c"])
    with torch.inference_mode():
        for found, expected in (
            (theirs.get_image_features(images).pooler_output, edited.model.encode_image(images)),
            (theirs.get_text_features(ids).pooler_output, edited.model.encode_text(ids)),
        ):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
