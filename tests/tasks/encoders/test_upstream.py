"""What layers' inputs depend on, as settings and digests: equal where two models compute the same, and only there."""

import pytest

from tasks.encoders.upstream import upstream_of

LAYER = "visual.transformer.resblocks.{}.mlp.c_proj"
TENSORS = {
    name: name[-6:].rjust(64, "0")
    for name in (
        "visual.conv1.weight",
        "visual.proj",
        "visual.ln_post.weight",
        *(f"{LAYER.format(n)}.weight" for n in range(12)),
    )
}
CFG = {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 12, "width": 32, "patch_size": 16}}


def upstream(*blocks, cfg=CFG, pictures=None, tensors=TENSORS):
    return upstream_of([LAYER.format(block) for block in blocks], cfg, pictures or {}, tensors)


def with_vision(**changes):
    return CFG | {"vision_cfg": CFG["vision_cfg"] | changes}


def test_it_is_of_all_blocks_up_to_the_last_that_is_asked_for():
    names = {"visual.conv1.weight", *(f"{LAYER.format(block)}.weight" for block in range(11))}
    assert upstream(3, 10)["tensors"].keys() == names
    assert upstream(10) == upstream(0, 10) != upstream(9)


SAME = {
    "defaults written out": {"cfg": CFG | {"quick_gelu": False} | with_vision(head_width=64, mlp_ratio=4)},
    "another width of the projection": {"cfg": CFG | {"embed_dim": 8}},
    "fewer blocks": {"cfg": with_vision(layers=4)},
    "pictures of the model's own size": {"pictures": {"size": 32, "mean": [0.48145466, 0.4578275, 0.40821073]}},
    "other tensors behind": {"tensors": TENSORS | {"visual.proj": "f" * 64, f"{LAYER.format(4)}.weight": "f" * 64}},
}
OTHER = {
    "activation": {"cfg": CFG | {"quick_gelu": True}},
    "heads": {"cfg": with_vision(head_width=16)},
    "norm": {"cfg": with_vision(norm_kwargs={"eps": 1e-6})},
    "size of pictures": {"cfg": with_vision(image_size=48)},
    "what is done to pictures": {"pictures": {"interpolation": "bilinear"}},
    "a tensor": {"tensors": TENSORS | {f"{LAYER.format(3)}.weight": "f" * 64}},
    "a tensor more": {"tensors": TENSORS | {"visual.attn_pool.query": "f" * 64}},
    "a setting that nobody knows": {"cfg": CFG | {"flavour": 1}},
}


@pytest.mark.parametrize("case", SAME)
def test_what_the_layers_do_not_depend_on_may_differ(case):
    assert upstream(0, 3, **SAME[case]) == upstream(0, 3)


@pytest.mark.parametrize("case", OTHER)
def test_what_they_depend_on_makes_another(case):
    assert upstream(0, 3, **OTHER[case]) != upstream(0, 3)


def test_of_what_it_does_not_know_it_says_nothing():
    assert upstream() is None
    assert upstream(0, cfg=with_vision(timm_model_name="test_vit")) is None
    assert upstream_of(["visual.trunk.blocks.0.mlp.fc2"], CFG, {}, TENSORS) is None
    assert upstream_of([LAYER.format(0), "visual.head.mlp.fc1"], CFG, {}, TENSORS) is None
