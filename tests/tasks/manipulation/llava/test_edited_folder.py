"""An edit of a CLIP in the LLaVA around it: the same weights as in the CLIP, and no others."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_specs.errors import ArtifactError, SpecError
from tasks.encoders.checkpoint import model_digest, tensor_digests
from tasks.encoders.llava.folder import open_llava
from tasks.encoders.transformers_format import to_transformers
from tasks.manipulation.edit import Edit, apply_edit, positions
from tasks.manipulation.llava.edited_folder import notices_of, write_edited_llava
from tests.cases.models import tiny_model
from tests.cases.tiny_llava import INDEX, tower_state, write_tiny_llava

LAST, FIRST = "visual.transformer.resblocks.1.mlp.c_proj", "visual.transformer.resblocks.0.mlp.c_proj"
ATTENTION, TEXT = "visual.transformer.resblocks.0.attn.out_proj", "transformer.resblocks.0.attn.out_proj"
FC2 = "vision_tower.vision_model.encoder.layers.0.mlp.fc2.weight"
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def edit_of(state, layers=(FIRST, ATTENTION, LAST, TEXT), alpha=-1.0):
    generator = torch.Generator().manual_seed(3)
    changes = {}
    for layer in layers:
        weight = state[f"{layer}.weight"]
        index = torch.randperm(weight.numel(), generator=generator)[:40].sort().values
        changes[layer] = positions(index, weight, "text" if layer == TEXT else "vision")
    settings = [dict.fromkeys(("text", "vision"), value) for value in (alpha, "score_mass", 0.98)]
    return Edit(model_digest(tensor_digests(state)), changes, *settings)


@pytest.fixture(scope="module")
def base():
    """Tensors of the CLIP that the LLaVA is built around."""
    return tiny_model().state_dict()


@pytest.fixture(scope="module")
def written(base, tmp_path_factory):
    """The LLaVA in every precision; `one` has all weights in one file."""
    root = tmp_path_factory.mktemp("llavas")
    for dtype in DTYPES:
        write_tiny_llava(root / str(dtype), base, dtype=dtype)
    write_tiny_llava(root / "one", base, shard_size="9MB", names="transformers 5")
    return root


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written / "torch.float32", tmp_path / "llava")


def write(edit, folder, out, **options):
    out.mkdir()
    return write_edited_llava(edit, open_llava(folder, "MODEL"), out, **options)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def tensors(folder):
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def change_files(folder, change, name=FC2):
    """Let `change` have the tensors of the file that holds one."""
    for path in folder.glob("*.safetensors"):
        state = load_file(path)
        if name in state:
            save_file(change(state), path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*map(str, DTYPES), "one"])
@pytest.mark.parametrize("alpha", [-1.0, 0.3, 0.0])
def test_the_loaded_tower_is_the_edited_clip_and_undone_every_file_is_as_it_was(written, base, tmp_path, kind, alpha):
    from transformers import LlavaForConditionalGeneration

    edit, folder = edit_of(base, alpha=alpha), written / kind
    done = write(edit, folder, tmp_path / "edited", base=base)
    loaded = LlavaForConditionalGeneration.from_pretrained(tmp_path / "edited", dtype="auto")
    expected = to_transformers(apply_edit(edit, base))
    tower = tower_state(loaded)
    assert all(torch.equal(value, expected[name].to(value.dtype)) for name, value in tower.items())
    before, after = tensors(folder), tensors(tmp_path / "edited")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == 3
    assert all("vision_tower" in name for name in changed)
    assert (done.n_weights, done.text_layers, done.without_effect) == (120, [TEXT], [LAST])

    undone = write(edit, tmp_path / "edited", tmp_path / "undone", base=base, undo=True)
    assert digests(tmp_path / "undone") == digests(folder)
    assert undone.rounding == 0


def test_files_of_the_language_model_are_the_same_ones_and_others_are_never_written_to(folder, base, tmp_path):
    before = digests(folder)
    done = write(edit_of(base), folder, tmp_path / "edited", base=base)
    tower_files = {
        file for name, file in json.loads((folder / INDEX).read_text())["weight_map"].items() if "fc2" in name
    }
    assert set(done.files.rewritten) <= tower_files
    assert 0 < len(done.files.rewritten) < len([*folder.glob("*.safetensors")])
    for path in folder.iterdir():
        same = path.stat().st_ino == (tmp_path / "edited" / path.name).stat().st_ino
        assert same == (path.name not in done.files.rewritten), path.name
    assert digests(folder) == before
    assert done.files.linked == sorted(before.keys() - set(done.files.rewritten))


def test_a_cache_of_links_is_read_through_and_stays(folder, base, tmp_path):
    (tmp_path / "blobs").mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(tmp_path / "blobs" / str(number))
        path.symlink_to(f"../blobs/{number}")
    before = digests(folder)
    write(edit_of(base), folder, tmp_path / "edited", base=base)
    assert not any(path.is_symlink() for path in (tmp_path / "edited").iterdir())
    assert digests(folder) == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_negation_is_exact_and_other_factors_say_how_far_they_round(written, base, tmp_path, dtype):
    half = {name: value.to(dtype).float() for name, value in base.items()}  # as a CLIP that was stored so
    exact = write(edit_of(half), written / str(dtype), tmp_path / "a", base=half)
    assert exact.rounding == 0
    assert not [told for told in notices_of(exact) if "half precision" in told]
    edit = edit_of(half, alpha=0.3)
    rounded = write(edit, written / str(dtype), tmp_path / "b", base=half)
    worst = 0.0
    for layer in (FIRST, ATTENTION, LAST):
        measured = 0.3 * edit.layers[layer].original.float()
        worst = max(worst, float(((measured.to(dtype).float() - measured) / measured).abs().max()))
    assert rounded.rounding == pytest.approx(worst)
    assert (rounded.rounding > 0) == (dtype != torch.float32)
    assert any(f"differ by up to {worst:.2g} of their size" in told for told in notices_of(rounded)) == (worst > 0)


def test_an_edit_is_applied_once_and_undone_once(folder, base, tmp_path):
    edit = edit_of(base)
    with pytest.raises(ArtifactError, match="does not carry this edit"):
        write(edit, folder, tmp_path / "a", base=base, undo=True)
    write(edit, folder, tmp_path / "edited", base=base)
    with pytest.raises(ArtifactError, match="carries this edit already; undo it with `uwm edit undo`"):
        write(edit, tmp_path / "edited", tmp_path / "b", base=base)
    assert [*(tmp_path / "a").iterdir(), *(tmp_path / "b").iterdir()] == []


def fine_tuned(state):
    return {name: value + 1e-3 if "vision_tower" in name else value for name, value in state.items()}


def other_at_no_position(state):
    state[FC2].view(-1)[1] += 1e-3
    return state


def with_another_size(state):
    return state | {FC2: torch.zeros(8, 8)}


OTHER = {
    "fine-tuned": (fine_tuned, r"\d+ of 120 values at the edit's positions are others, the first of them in encoder"),
    "another tensor": (other_at_no_position, r"encoder.layers.0.mlp.fc2.weight has other values than the edit's base"),
    "another size": (with_another_size, r"fc2.weight is \[8, 8\] there, and the edit goes past it"),
}


@pytest.mark.parametrize("case", OTHER)
def test_another_tower_is_refused_before_anything_is_written(folder, base, tmp_path, case):
    change, told = OTHER[case]
    edit = edit_of(base, (LAST, ATTENTION, FIRST))
    assert 1 not in edit.layers[FIRST].index
    change_files(folder, change)
    with pytest.raises(ArtifactError, match=f"is not the one that the edit was made for: .*{told}"):
        write(edit, folder, tmp_path / "out", base=base)
    assert [*(tmp_path / "out").iterdir()] == []


def test_without_the_base_at_hand_the_positions_are_compared_and_that_is_said(folder, base, tmp_path):
    done = write(edit_of(base), folder, tmp_path / "edited")
    assert any("the rest of the tower was not compared" in told for told in notices_of(done))
    other = {name: value + 1 for name, value in base.items()}
    with pytest.raises(ArtifactError, match="120 of 120 values at the edit's positions are others"):
        write(edit_of(other), folder, tmp_path / "other")


@pytest.mark.parametrize("how", ["int8", "packed"])
def test_a_quantised_tower_is_refused(folder, base, tmp_path, how):
    def quantised(state):
        weight = state.pop(FC2)
        if how == "int8":
            return state | {FC2: weight.to(torch.int8), FC2.replace("weight", "SCB"): torch.ones(32)}
        return state | {FC2.replace("weight", "qweight"): weight.to(torch.int32)}

    change_files(folder, quantised)
    places = {name: path.name for path in folder.glob("*.safetensors") for name in load_file(path)}
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    with pytest.raises(SpecError, match=r"fc2.weight is quantised \(.*\), and a quantised tower is not edited"):
        write(edit_of(base), folder, tmp_path / "out", base=base)


def test_an_edit_of_the_text_encoder_alone_is_refused(folder, base, tmp_path):
    with pytest.raises(
        ArtifactError, match="changes no weight of a vision encoder, and of CLIP's encoders a LLaVA has"
    ):
        write(edit_of(base, (TEXT,)), folder, tmp_path / "out")


def test_what_would_bring_the_unedited_weights_is_left_out_and_said(folder, base, tmp_path):
    for name in ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.fp16.safetensors"):
        (folder / name).write_bytes(b"x")
    (folder / "onnx").mkdir()
    done = write(edit_of(base), folder, tmp_path / "edited", base=base, without={"chat_template.jinja"})
    left_out = ["chat_template.jinja", "model.fp16.safetensors", "onnx", "pytorch_model.bin"]
    assert done.files.left_out == [*left_out, "pytorch_model.bin.index.json"]
    assert sorted(path.name for path in (tmp_path / "edited").iterdir()) == sorted(
        {path.name for path in folder.iterdir()} - set(done.files.left_out)
    )


def test_a_disk_without_room_is_known_before_anything_is_copied(folder, base, tmp_path):
    (name,) = (path for path in folder.glob("*.safetensors") if FC2 in load_file(path))
    content = name.read_bytes()
    n_bytes = int.from_bytes(content[:8], "little")
    header, more = json.loads(content[8 : 8 + n_bytes]), 1 << 42
    end = len(content) - 8 - n_bytes
    header["language_model.large"] = {"dtype": "U8", "shape": [more], "data_offsets": [end, end + more]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    name.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n_bytes :])
    with name.open("r+b") as file:
        file.truncate(8 + len(text) + end + more)  # holes: the disk holds none of it
    with pytest.raises(SpecError, match=r"--out needs 4398\.\d GB for 2 files, and its disk has \d+\.\d GB left"):
        write(edit_of(base), folder, tmp_path / "out", base=base)
    assert [*(tmp_path / "out").iterdir()] == []
