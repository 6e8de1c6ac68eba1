"""Settings of a run whose model is the tower of a LLaVA."""

from pathlib import Path

import pytest

from data_specs.config_file import parse_config
from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig

BASE = {
    "name": "x",
    "model": {"llava": "models/llava"},
    "calibration": {"shards": ["c.tar"]},
    "evaluation": {"shards": ["e.tar"]},
    "text": None,
}


def parsed(**changes):
    return parse_config(BASE | changes, base=Path("/base"), source="run.yaml")


@pytest.mark.parametrize(
    ("given", "resolved"), [("models/llava", "/base/models/llava"), ("hf-hub:llava-hf/x", "hf-hub:llava-hf/x")]
)
def test_it_is_a_folder_beside_the_file_or_a_name_on_the_hub(given, resolved):
    model = parsed(model={"llava": given}).model
    assert model.llava == resolved
    # As a record holds it, and a deployment gives it back.
    assert ModelConfig.model_validate(model.model_dump(mode="json")) == model


REFUSED = {
    "a text encoder": ({"text": {}}, r"no text encoder of CLIP's that could be edited; set text: null"),
    "a method's text encoder": ({"methods": {"a": {"text": {"tau": 0.9}}}}, "set methods.a.text: null"),
    "a sign": ({"vision": {"sign": "loss"}}, "vision.sign: loss compares pictures with texts"),
    "gradients": ({"vision": {"scorer": "gradient_unsafe"}}, "vision.scorer: gradient_unsafe compares pictures with"),
    "weights": ({"model": {"llava": "a", "weights": "openai"}}, "all that belongs to it; remove weights"),
    "an architecture": ({"model": {"llava": "a", "architecture": "ViT-B-32"}}, "remove architecture"),
    "nothing": ({"model": {}}, "model.architecture is missing"),
    "its name alone": ({"model": {"architecture": "llava"}}, "weights is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_tower_does_not_have_is_refused_by_its_setting(case):
    changes, told = REFUSED[case]
    with pytest.raises(SpecError, match=told):
        parsed(**changes)
