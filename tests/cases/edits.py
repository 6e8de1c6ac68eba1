"""Small models and edits of them."""

import torch

from tasks.encoders.checkpoint import model_digest, tensor_digests
from tasks.manipulation.edit import Edit, positions

TEXT, VISION = "transformer.resblocks.0.attn.out_proj", "visual.transformer.resblocks.0.mlp.c_proj"
ENCODER = {TEXT: "text", VISION: "vision"}


def random_state(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = {f"{TEXT}.weight": (6, 5), f"{TEXT}.bias": (6,), f"{VISION}.weight": (4, 8), "logit_scale": ()}
    state = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    state[f"{TEXT}.weight"].view(-1)[:4] = torch.tensor([0.0, -0.0, 1e-7, -6e-8]).to(dtype)
    return state


def random_edit(state, alpha, *, n=9, seed=1):
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for layer, encoder in ENCODER.items():
        weight = state[f"{layer}.weight"]
        chosen = torch.randperm(weight.numel() - 4, generator=generator)[: n - 4] + 4
        index = torch.cat([torch.arange(4), chosen.sort().values])
        layers[layer] = positions(index, weight, encoder)
    sides = ("text", "vision")
    return Edit(
        model_digest(tensor_digests(state)),
        layers,
        dict.fromkeys(sides, alpha),
        dict.fromkeys(sides, "score_mass"),
        dict.fromkeys(sides, 0.98),
    )


def bits(state):
    return {name: (value.dtype, tuple(value.shape), value.numpy().tobytes()) for name, value in state.items()}
