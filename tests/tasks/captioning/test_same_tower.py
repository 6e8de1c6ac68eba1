"""A captioner's tower against the model that is edited, by the files alone."""

import pytest
import torch

from data_specs.captioning import CaptioningConfig
from data_specs.config_file import with_values
from data_specs.errors import SpecError
from tasks.captioning.captioner import load_captioner
from tasks.captioning.same_tower import require_same_activation, require_tower
from tasks.encoders.loading import load_model
from tests.cases.models import tiny_model, write_tiny_model
from tests.cases.tiny_llava import write_tiny_llava

LAYER = "visual.transformer.resblocks.0.mlp.c_fc"
NORM = "visual.transformer.resblocks.0.ln_1.weight"
FC1 = r"'encoder\.layers\.0\.mlp\.fc1\.weight'"


@pytest.fixture(scope="module")
def state():
    """Weights of layers as float16 holds them, and norms that it rounds, as in OpenAI's CLIPs."""
    found = tiny_model().state_dict()
    return {name: value if "ln_" in name else value.half().float() for name, value in found.items()}


@pytest.fixture(scope="module")
def llava(state, tmp_path_factory):
    return write_tiny_llava(tmp_path_factory.mktemp("llava") / "half", state, dtype=torch.float16)


def config(llava, **settings):
    return CaptioningConfig.model_validate({"model": str(llava), "precision": "fp16", **settings})


def test_a_tower_whose_norms_alone_are_rounded_is_the_models(state, llava):
    assert bool((state[NORM] != state[NORM].half().float()).any())
    require_tower(config(llava), state, [LAYER])


def test_other_values_are_told_by_their_number_whether_edits_reach_them_or_not(state, llava):
    changed = {**state, f"{LAYER}.weight": state[f"{LAYER}.weight"].clone()}
    changed[f"{LAYER}.weight"][0, :3] += 1
    for layers in ([LAYER], []):
        with pytest.raises(SpecError, match=rf"which is edited: 3 of 4096 values of {FC1} differ; give a LLaVA"):
            require_tower(config(llava), changed, layers)
    nan = {**state, NORM: torch.full_like(state[NORM], torch.nan)}
    with pytest.raises(SpecError, match=r"32 of 32 values of 'encoder\.layers\.0\.layer_norm1\.weight' differ"):
        require_tower(config(llava), nan, [LAYER])


def test_a_block_that_no_caption_depends_on_may_be_another_unless_edits_reach_it(state, llava):
    last = "visual.transformer.resblocks.1.mlp.c_fc"
    changed = {**state, f"{last}.weight": state[f"{last}.weight"] + 1}
    require_tower(config(llava), changed, [LAYER])
    with pytest.raises(SpecError, match=r"values of 'encoder\.layers\.1\.mlp\.fc1\.weight' differ"):
        require_tower(config(llava), changed, [LAYER, last])


def test_a_precision_that_rounds_what_edits_change_is_refused(tmp_path):
    state = tiny_model().state_dict()
    llava = write_tiny_llava(tmp_path / "full", state)
    require_tower(config(llava, precision="fp32"), state, [LAYER])
    with pytest.raises(SpecError, match=rf"captioning\.precision bf16 rounds {FC1} of the tower"):
        require_tower(config(llava, precision="bf16"), state, [LAYER])


def test_a_tower_of_other_sizes_is_refused(state, llava):
    narrow = {**state, f"{LAYER}.bias": state[f"{LAYER}.bias"][:64]}
    with pytest.raises(SpecError, match=r"'encoder\.layers\.0\.mlp\.fc1\.bias' is \[128\] there, \[64\] in the model"):
        require_tower(config(llava), narrow, [LAYER])
    third = "visual.transformer.resblocks.2.mlp.c_fc"
    deep = {**state, f"{third}.weight": state[f"{LAYER}.weight"]}
    require_tower(config(llava), deep, [LAYER])
    with pytest.raises(
        SpecError, match=r"'encoder\.layers\.2\.mlp\.fc1\.weight' is none there, \[128, 32\] in the model"
    ):
        require_tower(config(llava), deep, [third])


def test_a_tower_with_another_activation_is_refused(llava, tmp_path):
    plain = write_tiny_model(tmp_path)
    require_same_activation(config(llava), load_model(plain))
    quick = load_model(with_values(plain, {"quick_gelu": True}))
    with pytest.raises(SpecError, match=r"has hidden_act 'gelu', but model, which is edited, has 'quick_gelu'; set"):
        require_same_activation(config(llava), quick)


def test_loading_draws_no_bar_and_the_bars_of_others_come_back(llava, capfd):
    from transformers.utils import logging

    logging.enable_progress_bar()
    load_captioner(config(llava), torch.device("cpu"))
    assert capfd.readouterr().err == ""
    assert logging.is_progress_bar_enabled()
