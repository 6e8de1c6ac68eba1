"""What a tower's tensors are called, against the modules of the libraries that compute with them."""

import pytest
import torch

from tasks.encoders.llava.names import as_in_tower, layer_in_tower
from tests.cases.models import TINY_SIGLIP, tiny_model


@pytest.fixture(scope="module")
def siglip():
    """TINY_SIGLIP as open_clip builds it around timm."""
    return tiny_model(TINY_SIGLIP)


def test_a_siglip_of_transformers_with_the_renamed_tensors_computes_what_timm_computes(siglip):
    from transformers import SiglipVisionConfig
    from transformers.models.siglip.modeling_siglip import SiglipEncoder

    blocks = siglip.visual.trunk.blocks
    width, hidden = blocks[0].mlp.fc1.in_features, blocks[0].mlp.fc1.out_features
    sizes = {"hidden_size": width, "intermediate_size": hidden, "num_attention_heads": blocks[0].attn.num_heads}
    config = SiglipVisionConfig(**sizes, num_hidden_layers=len(blocks), hidden_act="gelu")
    theirs = SiglipEncoder(config).eval()
    renamed = as_in_tower(siglip.state_dict())
    theirs.load_state_dict({name.removeprefix("encoder."): value for name, value in renamed.items()})
    states = torch.randn(2, 5, width)
    with torch.no_grad():
        ours = states
        for block in blocks:
            ours = block(ours)
        torch.testing.assert_close(theirs(states).last_hidden_state, ours, rtol=1e-4, atol=1e-5)


def test_a_layer_is_where_its_weight_is(siglip):
    for model, layers in (
        (siglip, [f"visual.trunk.blocks.3.{name}" for name in ("attn.proj", "mlp.fc1", "mlp.fc2")]),
        (
            tiny_model(),
            [f"visual.transformer.resblocks.1.{name}" for name in ("attn.out_proj", "mlp.c_fc", "mlp.c_proj")],
        ),
    ):
        tower = as_in_tower(model.state_dict())
        for layer in layers:
            assert torch.equal(tower[layer_in_tower(layer)], model.get_parameter(f"{layer}.weight")), layer


@pytest.mark.parametrize(
    "layer",
    ["visual.trunk.attn_pool.mlp.fc2", "transformer.resblocks.0.mlp.c_proj", "visual.trunk.blocks.0.attn.qkv", "x"],
)
def test_what_a_tower_does_not_have_by_itself_has_no_name_there(layer):
    assert layer_in_tower(layer) is None
