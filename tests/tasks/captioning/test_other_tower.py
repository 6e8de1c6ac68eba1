"""Another CLIP's vision encoder in a captioner: against a LLaVA that was built around it, and that nothing of it stays."""

import json
import pickle
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from data_specs.captioning import CaptioningConfig
from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig
from tasks.captioning.captioner import load_captioner
from tasks.captioning.captioner_files import describe_captioner
from tasks.captioning.captions import Captioning, ChangedTower, caption_pictures
from tasks.captioning.other_tower import OtherTower, require_fitting_tower
from tasks.encoders.checkpoint import tensor_digests
from tasks.encoders.loading import load_model
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.manipulation.edit import Edit, apply_edit, positions
from tasks.manipulation.edit_file import write_edit
from tasks.manipulation.in_place import edited_in_place
from tasks.shards.plan import plan_reading
from tests.cases.captions import let_it_speak_words
from tests.cases.models import TINY_CLIP, tiny_model
from tests.cases.shard_files import inspected, pairs, write_tar
from tests.cases.tiny_llava import tower_state, write_tiny_llava

CPU = torch.device("cpu")
VISION = TINY_CLIP["vision_cfg"]
LAYER = "visual.transformer.resblocks.0.mlp.c_proj"
FC2 = "vision_model.encoder.layers.0.mlp.fc2.weight"


def clip(folder, changed=None, value=None):
    """A CLIP of files, of another seed than the captioner's; `value` is its first weight."""
    cfg = {**TINY_CLIP, **(changed or {})}
    state = tiny_model(cfg, seed=5).state_dict()
    if value is not None:
        state["visual.conv1.weight"][0, 0, 0, 0] = value
    (folder / "clip.json").write_text(json.dumps(cfg), encoding="utf-8")
    save_file(state, folder / "clip.safetensors")
    return load_model(ModelConfig(architecture=str(folder / "clip.json"), weights=str(folder / "clip.safetensors")))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def change(other, tmp_path_factory):
    """An edit of that CLIP, and its file."""
    weight = other.model.get_parameter(f"{LAYER}.weight")
    layers = {LAYER: positions(torch.arange(3, 4000, 7), weight, "vision")}
    edit = Edit(other.digest, layers, {"vision": 0.3}, {"vision": "score_mass"}, {"vision": 0.9})
    path = tmp_path_factory.mktemp("edit") / "edit.safetensors"
    write_edit(edit, path)
    return SimpleNamespace(edit=edit, path=path)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return speaking(tmp_path_factory.mktemp("llava") / "own", tiny_model().state_dict())


def speaking(folder, state):
    let_it_speak_words(write_tiny_llava(folder, state))
    return folder


def config(folder, precision="fp32"):
    return CaptioningConfig.model_validate({"model": str(folder), "precision": precision, "max_new_tokens": 6})


def held(captioner):
    return {name: value.clone() for name, value in tower_state(captioner.model).items()}


@pytest.mark.slow
def test_it_writes_what_a_llava_around_that_clip_writes_and_is_itself_again(llava, other, change, tmp_path):
    state = {name: value.clone() for name, value in other.model.state_dict().items()}
    with edited_in_place(other, change.edit, change.path) as edited:
        files = edited.files
    own = load_captioner(config(llava), CPU)
    pixels = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    before, said = held(own), own(pixels)
    for name, model, inner in (("plain", other.files, state), ("edited", files, apply_edit(change.edit, state))):
        built = load_captioner(config(speaking(tmp_path / name, inner)), CPU)
        sent = pickle.dumps(OtherTower(model))
        assert len(sent) < 2000  # names files, holds no tensor
        with pickle.loads(sent)(own.tower):
            inside, expected = held(own), held(built)
            assert own(pixels) == built(pixels) != said
        used = [tensor for tensor in expected if "post_layernorm" not in tensor]
        assert all(torch.equal(inside[tensor], expected[tensor]) for tensor in used)
        assert tensor_digests(held(own)) == tensor_digests(before)
    assert own(pixels) == said
    with other.files.opened() as loaded:  # the edit is taken back where it was applied
        assert tensor_digests(loaded.model.state_dict()) == other.digests


def test_an_edits_values_are_rounded_to_the_captioners_precision_and_its_own_come_back_after_an_error(
    llava, other, change
):
    own = load_captioner(config(llava, "fp16"), CPU)
    before, inside = held(own), {}
    expected = apply_edit(change.edit, other.model.state_dict())[f"{LAYER}.weight"].half()
    with edited_in_place(other, change.edit, change.path) as edited:
        files = edited.files

    def fail():
        with OtherTower(files)(own.tower):
            inside.update(held(own))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(inside[FC2], expected)
    assert not torch.equal(inside[FC2], before[FC2])
    assert tensor_digests(held(own)) == tensor_digests(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"quick_gelu": True}, "has hidden_act 'quick_gelu', the captioner's 'gelu'"),
        ({"vision_cfg": {**VISION, "image_size": 48}}, "has image_size 48, the captioner's 32"),
        ({"vision_cfg": {**VISION, "head_width": 8}}, "has num_attention_heads 4, the captioner's 2"),
        ({"vision_cfg": {**VISION, "layers": 3}}, r"'encoder.layers.2.*' is \[.*\] in the vision encoder of .*, none in"),
        ({"vision_cfg": {**VISION, "layers": 1}}, r"'encoder.layers.1.*' is none in the vision encoder of .*, \[.*\] in"),
        ({"vision_cfg": {**VISION, "mlp_ratio": 2}}, r"'encoder.layers.0.mlp.fc1.bias' is \[64\] .*, \[128\] in the captioner's"),
    ],
)  # fmt: skip
def test_a_tower_that_differs_in_more_than_its_values_is_refused_by_the_files_alone(llava, changed, said, tmp_path):
    with pytest.raises(SpecError, match=said):
        require_fitting_tower(config(llava), clip(tmp_path, changed))


def test_a_tower_that_fits_is_not_refused_whatever_its_text_encoder(llava, other, tmp_path):
    require_fitting_tower(config(llava), other)
    text = {"text_cfg": {**TINY_CLIP["text_cfg"], "no_causal_mask": True}}
    require_fitting_tower(config(llava), clip(tmp_path, text))


@pytest.mark.slow
def test_another_shape_and_a_value_that_half_precision_does_not_hold_leave_the_tower_as_it_is(llava, tmp_path):
    own = load_captioner(config(llava, "fp16"), CPU)
    before = held(own)
    for name, given, said in (
        ("large", {"value": 1e6}, r"does not fit torch\.float16; use captioning\.precision: bf16 or fp32"),
        ("deep", {"changed": {"vision_cfg": {**VISION, "layers": 3}}}, "only a tower of the same shape can be put in"),
    ):
        (tmp_path / name).mkdir()
        loaded = clip(tmp_path / name, **given)
        with pytest.raises(SpecError, match=said):
            OtherTower(loaded.files)(own.tower).__enter__()
        with pytest.raises(SpecError, match=said):
            require_fitting_tower(config(llava, "fp16"), loaded)
    assert tensor_digests(held(own)) == tensor_digests(before)


def test_the_recipe_names_the_tower_and_nothing_where_none_was_put_in(llava, other, tmp_path):
    store, captioner = Store(tmp_path / "store"), describe_captioner(config(llava))
    plans = plan_reading([inspected(write_tar(tmp_path / "a.tar", pairs(["a0", "a1"])))], "vision", None)

    def made(changed):
        what = Captioning(plans, "pillow", 0.0)
        return caption_pictures.fn(captioner, what, changed, store, RunContext(), "original")

    plain, digest = made(None), other.encoder_digest("vision")
    put_in = made(ChangedTower(OtherTower(other.files), put_in=digest))
    assert {*plain.manifest.recipe.inputs} == {"captioner", "parts", "shards"}
    assert {*put_in.manifest.recipe.inputs} == {"captioner", "parts", "shards", "tower"}
    assert put_in.manifest.recipe.inputs["tower"] == digest
    own, other_part = (store.manifest(each.manifest.recipe.inputs["parts"][0]).recipe for each in (plain, put_in))
    assert {*own.inputs} == {"captioner", "shard"}
    assert other_part.inputs["tower"] == digest
    assert other_part.code != own.code
