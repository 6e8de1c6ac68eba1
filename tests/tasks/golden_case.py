"""The golden case of single stages: its settings, what is expected, and its model."""

import json
from functools import cache

from safetensors.torch import load_file

from tasks.encoders.architecture import Architecture
from tasks.encoders.checkpoint import read_state_dict
from tasks.encoders.loading import load_weights
from tests.support import CASE


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
