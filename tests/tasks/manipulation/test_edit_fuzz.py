"""Edit files changed at random: refused, or the very model that the true edit gives."""

import json
import random

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save, save_file

from data_specs.errors import ArtifactError, SpecError
from tasks.encoders.checkpoint import model_digest, tensor_digests
from tasks.manipulation.edit import Edit, apply_edit, positions
from tasks.manipulation.edit_file import read_edit, write_edit

pytestmark = pytest.mark.slow

TEXT, OTHER, VISION = (
    "transformer.resblocks.0.attn.out_proj",
    "transformer.resblocks.1.attn.out_proj",
    "visual.transformer.resblocks.0.mlp.c_proj",
)
N_FLIPS, N_STRUCTURED = 300, 400


@pytest.fixture(scope="module")
def state():
    generator = torch.Generator().manual_seed(0)
    shapes = {TEXT: (6, 5), OTHER: (6, 5), VISION: (4, 8)}
    state = {f"{layer}.weight": torch.randn(shape, generator=generator) for layer, shape in shapes.items()}
    state[f"{TEXT}.weight"].view(-1)[:2] = torch.tensor([0.0, -0.0])
    return state | {
        f"{TEXT}.bias": torch.ones(6),
        "token_embedding.weight": torch.ones(7, 5),
        "logit_scale": torch.ones(()),
    }


@pytest.fixture(scope="module")
def true(state, tmp_path_factory):
    """A true edit's file, its content, and the bytes of the model that it gives."""
    where = {TEXT: [0, 1, 4, 9, 29], OTHER: [2, 3, 5], VISION: [0, 7, 8, 30]}
    layers = {
        layer: positions(index, state[f"{layer}.weight"], "vision" if layer == VISION else "text")
        for layer, index in where.items()
    }
    edit = Edit(
        model_digest(tensor_digests(state)),
        layers,
        {"text": -1.0, "vision": 0.25},
        {"text": "score_mass", "vision": "top_share"},
        {"text": 0.98, "vision": 0.9},
    )
    path = tmp_path_factory.mktemp("true") / "edit.safetensors"
    write_edit(edit, path)
    with safe_open(path, framework="pt") as file:
        content = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return path, content, save(apply_edit(read_edit(path), state))


def outcome(path, state):
    """The model's bytes, or the status with which it is refused; anything else fails the test."""
    try:
        return save(apply_edit(read_edit(path), state))
    except (ArtifactError, SpecError) as error:
        text, status = str(error), error.exit_code
    assert text.isprintable()
    assert len(text) < 600
    return status


def test_every_flipped_byte_is_refused_or_gives_the_same_model(true, state, tmp_path):
    path, _, expected = true
    original, dice = path.read_bytes(), random.Random(0)
    places = [dice.randrange(len(original)) for _ in range(N_FLIPS)]
    refused = 0
    for place in [*places, *range(8)]:
        changed = bytearray(original)
        changed[place] ^= 1 << dice.randrange(8)
        (tmp_path / "edit.safetensors").write_bytes(changed)
        found = outcome(tmp_path / "edit.safetensors", state)
        assert found in (2, 4, expected), (place, chr(original[place]), chr(changed[place]))
        refused += found != expected
    # What is left are blanks that pad the header.
    assert refused > 0.95 * len(places)


def test_every_cut_or_longer_file_is_refused(true, state, tmp_path):
    path, _, _ = true
    original, dice = path.read_bytes(), random.Random(1)
    cuts = [original[: dice.randrange(len(original))] for _ in range(40)] + [original + b"x", original * 2, b""]
    for content in cuts:
        (tmp_path / "edit.safetensors").write_bytes(content)
        assert outcome(tmp_path / "edit.safetensors", state) in (2, 4)


def swapped(tensor, dice):
    first, second = dice.sample(range(len(tensor)), 2)
    tensor[[first, second]] = tensor[[second, first]]
    return tensor


# Each takes a tensor (a copy) or a metadata text and a random.Random, and gives another in its place.
OF_INDEX = {
    "negative": lambda t, _: torch.cat([torch.tensor([-1]), t[1:]]),
    "out of range": lambda t, _: torch.cat([t[:-1], torch.tensor([30 + 2**40])]),
    "one past": lambda t, _: torch.cat([t[:-1], torch.tensor([32])]),
    "repeated": lambda t, _: torch.cat([t[:1], t[:-1]]),
    "unsorted": swapped,
    "reversed": lambda t, _: t.flip(0),
    "moved": lambda t, dice: t + dice.choice([-1, 1]),
    "shorter": lambda t, _: t[:-1],
    "longer": lambda t, _: torch.cat([t, t[-1:] + 1]),
    "empty": lambda t, _: t[:0],
    "two axes": lambda t, _: t[None],
    "scalar": lambda t, _: t[0],
    **{str(dtype): lambda t, _, to=dtype: t.to(to) for dtype in (torch.int32, torch.uint8, torch.float32, torch.bool)},
}
OF_ORIGINAL = {
    "nan": lambda t, dice: t.index_fill(0, torch.tensor([dice.randrange(len(t))]), float("nan")),
    "inf": lambda t, dice: t.index_fill(0, torch.tensor([dice.randrange(len(t))]), float("-inf")),
    "sign": lambda t, dice: torch.where(torch.arange(len(t)) == dice.randrange(len(t)), -t, t),
    "next": lambda t, dice: torch.where(torch.arange(len(t)) == dice.randrange(len(t)), t.nextafter(t + 1), t),
    "zero for minus zero": lambda t, _: t.neg().where(t != 0, t) if bool((t != 0).all()) else t + 0.0,
    "swapped": swapped,
    "zeros": lambda t, _: torch.full_like(t, 1.5),
    "shorter": lambda t, _: t[:-1],
    "longer": lambda t, _: torch.cat([t, t[:1]]),
    "two axes": lambda t, _: t[:, None],
    **{
        str(dtype): lambda t, _, to=dtype: t.to(to)
        for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.complex64)
    },
}
HOSTILE = (
    "NaN",
    "-Infinity",
    "1e999",
    "null",
    "true",
    "[]",
    '"-1"',
    "[-1]",
    "{}",
    "11",
    "-10.5",
    "9" * 5000,
    '"\\u001b[31m"',
)
OF_NUMBERS = [f'{{"text": {value}, "vision": 0.9}}' for value in HOSTILE] + [
    "", "{", "[]", "null", "NaN", "{}", '{"text": -1.0}', '{"text": -1.0, "vision": 0.9, "audio": 0.9}', "[" * 100_000,
    '{"text": -1.0, "text": 0.5, "vision": 0.25}',
]  # fmt: skip
OF_RULES = [
    '{"text": "score_mass"}', '{"text": "all", "vision": "top_share"}', '{"text": ["score_mass"], "vision": {}}', "[]", "",
]  # fmt: skip
OF_BASE = ["", "0" * 64, "g" * 64, "0" * 63, "0" * 64 + "\n", "é" * 64]


def of_encoders(dice):
    layer = dice.choice([TEXT, OTHER, VISION])
    encoders = {TEXT: "text", OTHER: "text", VISION: "vision"}
    other = {"text": "vision", "vision": "text"}[encoders[layer]]
    del encoders[layer]
    new = dice.choice(
        ["", "logit_scale", "visual", f"{layer}.", layer.upper(), "text_decoder.x", "\x1b[2J", "token_embedding"]
    )
    choices = [{**encoders, layer: value} for value in (other, "audio", None, 1, ["text"], {})]
    return json.dumps(dice.choice([*choices, encoders, {**encoders, new: "text"}, {}, [], None]))


def mutated(content, dice):
    """Metadata and tensors with one change, and its name."""
    metadata, tensors = dict(content[0]), {name: tensor.clone() for name, tensor in content[1].items()}
    layer = dice.choice([TEXT, OTHER, VISION])
    kind = dice.choice(["index", "original", "alpha", "tau", "rule", "encoder", "base", "extra", "missing", "renamed"])
    if kind in ("index", "original"):
        how = dice.choice(sorted(OF_INDEX if kind == "index" else OF_ORIGINAL))
        change = (OF_INDEX if kind == "index" else OF_ORIGINAL)[how]
        tensors[f"{layer}.{kind}"] = change(tensors[f"{layer}.{kind}"], dice).contiguous()
        return metadata, tensors, f"{kind} {how} of {layer}"
    if kind in ("extra", "missing", "renamed"):
        name = dice.choice(sorted(tensors))
        tensor = tensors[name] if kind == "extra" else tensors.pop(name)
        if kind != "missing":
            tensors[dice.choice([f"{name}.index", f"x{name}", "index", ".original", "more", f"{VISION}.weight"])] = (
                tensor.clone()
            )
        return metadata, tensors, f"{kind} {name}"
    name, value = {
        "alpha": ("alpha", dice.choice(OF_NUMBERS)),
        "tau": ("tau", dice.choice([*OF_NUMBERS, '{"text": 0, "vision": 0.9}', '{"text": 1.0, "vision": 0.9}'])),
        "rule": ("rule", dice.choice(OF_RULES)),
        "encoder": ("encoder", of_encoders(dice)),
        "base": ("base_model_digest", dice.choice(OF_BASE)),
    }[kind]  # fmt: skip
    if dice.random() < 0.1:
        del metadata[name]
    else:
        metadata[name] = value
    return metadata, tensors, f"{name} {value[:60]}"


@pytest.mark.parametrize("digest", ["kept", "taken away"])
def test_every_structured_change_is_refused_with_status_four_or_gives_the_same_model(true, state, tmp_path, digest):
    _, content, expected = true
    dice, refused = random.Random(digest), 0
    path = tmp_path / "edit.safetensors"
    for _ in range(N_STRUCTURED):
        metadata, tensors, name = mutated(content, dice)
        if digest == "taken away":  # as in files of earlier versions, so that every check must stand alone
            del metadata["content_sha256"]
        save_file(tensors, path, metadata)
        found = outcome(path, state)
        assert found in (4, expected), name
        refused += found == 4
    assert refused > 0.9 * N_STRUCTURED


def test_a_file_of_an_earlier_version_without_a_digest_is_read(true, state, tmp_path):
    _, (metadata, tensors), expected = true
    earlier = {name: text for name, text in metadata.items() if name != "content_sha256"}
    save_file(tensors, tmp_path / "edit.safetensors", earlier)
    assert outcome(tmp_path / "edit.safetensors", state) == expected
    save_file(tensors, tmp_path / "edit.safetensors", earlier | {"Content_sha256": metadata["content_sha256"]})
    assert outcome(tmp_path / "edit.safetensors", state) == 4


def test_a_consistent_change_of_what_does_not_act_is_found_by_the_files_own_digest(true, state, tmp_path):
    _, (metadata, tensors), _ = true
    save_file(tensors, tmp_path / "edit.safetensors", metadata | {"tau": '{"text": 0.97, "vision": 0.9}'})
    with pytest.raises(ArtifactError, match="its content is not what was written"):
        read_edit(tmp_path / "edit.safetensors")


def test_another_format_is_refused(true, tmp_path):
    _, (metadata, tensors), _ = true
    earlier = {name: text for name, text in metadata.items() if name != "content_sha256"}
    for other in ("unsafe_weights_edit/2", "pt"):
        save_file(tensors, tmp_path / "edit.safetensors", earlier | {"format": other})
        with pytest.raises(ArtifactError, match=f"of format '{other}', expected unsafe_weights_edit/1"):
            read_edit(tmp_path / "edit.safetensors")
