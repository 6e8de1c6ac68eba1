"""The golden cases: of single stages, and from shards to figures."""

import json
import shutil
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.encoders.architecture import Architecture
from tasks.encoders.checkpoint import read_state_dict
from tasks.encoders.loading import load_weights
from tests.cases.places import DATA

CASE = DATA / "golden_case_0"
E2E = DATA / "golden_e2e_0"


@cache
def golden_case():
    return json.loads((CASE / "case.json").read_text())


@cache
def golden_numbers():
    return load_file(CASE / "expected.safetensors")


@cache
def golden_model():
    architecture = Architecture(golden_case()["open_clip_config"], {}, None)
    return load_weights(architecture, read_state_dict(CASE / "model.safetensors"), source="golden").model


def write_golden_e2e(folder: Path) -> Path:
    """Lay out the golden end-to-end case as it was given: shards, `model.json`, `model.safetensors`, what is expected.

    Of the 49,408 token embeddings the repository keeps the 36 that the case's captions use; the
    others are zeros here, and no number of the case depends on them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("calibration.tar", "test.tar", "model.json", "expected.json", "expected.safetensors"):
        shutil.copyfile(E2E / name, folder / name)
    state = load_file(E2E / "model_used_rows.safetensors")
    rows, values = state.pop("token_embedding.rows"), state.pop("token_embedding.values")
    vocabulary = json.loads((E2E / "model.json").read_text(encoding="utf-8"))["text_cfg"]["vocab_size"]
    embedding = torch.zeros(vocabulary, values.shape[1])
    embedding[rows] = values
    save_file({**state, "token_embedding.weight": embedding}, folder / "model.safetensors")
    return folder


def overlap(selected: Tensor, expected: Tensor) -> float:
    """Intersection over union of two masks."""
    first, second = selected.bool(), expected.bool()
    return float((first & second).sum() / (first | second).sum())
