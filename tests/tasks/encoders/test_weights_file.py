import argparse
import gzip
import io
import json
import os
import pickle
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig
from tasks.encoders.loading import load_model
from tasks.encoders.weights_file import read_weights
from tests.cases.models import TINY_CLIP, tiny_model, write_tiny_clip_model


@pytest.fixture(scope="module")
def state():
    return tiny_model().state_dict()


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def saved(folder, content, name="model.pt"):
    torch.save(content, folder / name)
    return folder / name


WAYS = {
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "compiled below DDP": lambda state: {"state_dict": prefixed(state, "module._orig_mod.")},
    "DDP below compiled": lambda state: prefixed(state, "_orig_mod.module."),
    "one tower compiled": lambda state: {
        name.replace("visual.", "visual._orig_mod."): value for name, value in state.items()
    },
    "FSDP": lambda state: prefixed(state, "_fsdp_wrapped_module."),
    "Lightning": lambda state: {
        "pytorch-lightning_version": "2.5",
        "state_dict": prefixed(state, "model."),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
        "hyper_parameters": {"scale": torch.ones(())},
    },
    "Lightning's net, compiled": lambda state: {"state_dict": prefixed(state, "net._orig_mod.")},
    "model": lambda state: {"model": state, "optimizer": {"state": {"a": {"exp_avg": torch.ones(2)}}}, "epoch": 3},
    "model_state_dict": lambda state: {
        "model_state_dict": state,
        "args": argparse.Namespace(lr=1),
        "loss": torch.ones(()),
    },
    "ema": lambda state: {"ema": state},
    "state_dict_ema": lambda state: {"state_dict_ema": prefixed(state, "module.")},
    "DeepSpeed": lambda state: {"module": state, "ds_config": {"a": 1}},
    "wrapped twice": lambda state: {"checkpoint": {"model": state}},
    "a name of one's own": lambda state: {"weights_of_clip": state, "epoch": 3},
    "parameters": lambda state: {name: torch.nn.Parameter(value) for name, value in state.items()},
}


@pytest.mark.parametrize("way", WAYS)
def test_what_training_tools_save_is_read_as_the_model_in_it(tmp_path, state, way):
    found = read_weights(saved(tmp_path, WAYS[way](state))).state
    assert same(found, state)
    assert not any(tensor.requires_grad for tensor in found.values())


def test_prefixes_go_from_safetensors_too_and_the_name_of_a_file_does_not_matter(tmp_path, state):
    save_file(prefixed(state, "module._orig_mod."), tmp_path / "weights.pt")
    assert same(read_weights(tmp_path / "weights.pt").state, state)
    saved(tmp_path, state, "weights.safetensors")
    assert same(read_weights(tmp_path / "weights.safetensors").state, state)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"model": {"a": torch.ones(1)}, "ema": {"a": torch.ones(1)}}, r"holds 2 state dicts \(model, ema\); save the one"),
        ({"a.b": torch.ones(1), "a._orig_mod.b": torch.ones(1)}, "holds a.b twice: inside and outside of a wrapper"),
        ({"epoch": 3, "optimizer": {}}, r"holds no state dict of tensors; its keys are 'epoch' \(int\), 'optimizer' \(dict\)"),
        ({"a": torch.ones(2).to_sparse()}, "tensor a is quantised, sparse or without values"),
        ({"a": torch.ones(2, device="meta")}, "tensor a is quantised, sparse or without values"),
        ({"a": torch.ones(1).expand(10**12)}, "tensor a claims 4000000000000 bytes and holds 4"),
    ],
)  # fmt: skip
def test_what_is_not_one_plain_state_dict_is_refused_with_what_was_found(tmp_path, content, expected):
    with pytest.raises(SpecError, match=expected):
        read_weights(saved(tmp_path, content))


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model.safetensors", b"x")


def compressed(path):
    torch.save({"a": torch.zeros(10)}, path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


def tar(path):
    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("x"), io.BytesIO())


OTHERS = {
    "empty": (b"", "it is empty"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "it is a Git LFS pointer, .*git lfs"),
    "page": (b"\n<!DOCTYPE html><html>", "it is an HTML page, not the file it links to; download"),
    "answer": (b"Entry not found\x1b", "it is of no known kind, its first bytes are 45 6e"),
    "text": ("Ungültiger Schlüssel".encode(), "it is text, which begins 'Ungültiger Schlüssel'"),
    "json": (json.dumps({"vis": {"a": 3}}).encode(), "it is JSON, which begins "),
    "gguf": (b"GGUF\x03\x00\x00\x00", "it is a GGUF file"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\xff", "it is an ONNX model"),
    "numpy": (lambda path: np.save(path.open("wb"), np.ones(3)), "it is a numpy array"),
    "npz": (lambda path: np.savez(path.open("wb"), a=np.ones(3)), r"it is a zip archive that holds 'a\.npy'"),
    "zip": (archive, r"it is a zip archive that holds 'model\.safetensors'; unpack it"),
    "cut": (b"PK\x03\x04" + bytes(99), "it is a zip archive that is cut or damaged"),
    "compressed": (compressed, "it is a compressed zip archive, as torch writes none"),
    "tar": (tar, "it is a tar archive"),
    "gzip": (gzip.compress(b"x" * 99), "it is a gzip archive"),
    "pickle": (pickle.dumps({"a": 3}), "holds pickled objects that are not tensors and is not unpickled"),
    "header": (b"\xff" * 7 + b'\x7f{"a":', "a safetensors file whose header claims 9223372036854775807 bytes"),
    "bytes": (bytes(100), "it is of no known kind, its first bytes are 00 00"),
}  # fmt: skip


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_is_named_for_what_it_is_and_never_with_advice_to_unpickle(tmp_path, kind, ending):
    content, expected = OTHERS[kind]
    path = tmp_path / f"weights{ending}"
    content(path) if callable(content) else path.write_bytes(content)
    with pytest.raises(SpecError, match=expected) as caught:
        read_weights(path)
    text = str(caught.value)
    assert "\n" not in text
    assert "\x1b" not in text
    assert "weights_only" not in text


def traced(folder, cfg):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = tiny_model(cfg)
        inputs = torch.zeros(1, 3, 32, 32), torch.zeros(1, 16, dtype=torch.long)
        torch.jit.save(torch.jit.trace(model, inputs, check_trace=False), folder / "jit.pt")
    return model.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("quick_gelu", [True, False])
def test_a_torchscript_archive_gives_its_weights_and_its_activation_and_runs_nothing(tmp_path, quick_gelu, monkeypatch):
    expected = traced(tmp_path, {**TINY_CLIP, "quick_gelu": quick_gelu})
    monkeypatch.setattr(torch.jit, "load", None)
    found = read_weights(tmp_path / "jit.pt")
    assert same(found.state, expected)
    assert found.quick_gelu is quick_gelu


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.slow
def test_a_torchscript_archive_with_a_payload_or_damage_is_refused(tmp_path):
    traced(tmp_path, TINY_CLIP)
    with zipfile.ZipFile(tmp_path / "jit.pt") as file:
        members = {name: file.read(name) for name in file.namelist()}
    pickled = next(name for name in members if name.endswith("/data.pkl"))
    huge_memo = b"\x80\x02Nr\xff\xff\xff\xff."
    itself = b"\x80\x02c__torch__\nA\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb."
    for content in (pickle.dumps(Payload(tmp_path / "ran"), protocol=2), huge_memo, itself, b"\x80\x02.", b""):
        with zipfile.ZipFile(tmp_path / "bad.pt", "w") as file:
            for name, old in members.items():
                file.writestr(name, content if name == pickled else old)
        with pytest.raises(SpecError, match=r"archive that cannot be read without|cannot be read: .|no state dict"):
            read_weights(tmp_path / "bad.pt")
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda value: value.to(torch.int8), r"tensor visual\.proj is int8, a quantised checkpoint"),
        (lambda value: value.to(torch.float8_e4m3fn), r"tensor visual\.proj is float8_e4m3fn, a quantised"),
        (lambda value: value.double() * 1e300, r"tensor visual\.proj holds NaN or infinite"),
        (lambda value: value * float("nan"), r"tensor visual\.proj holds NaN or infinite"),
    ],
    ids=["int8", "float8", "too large for float32", "NaN"],
)
def test_weights_that_are_no_numbers_of_a_model_are_refused(tmp_path, state, change, expected):
    (tmp_path / "model.json").write_text(json.dumps(TINY_CLIP))
    path = saved(tmp_path, state | {"visual.proj": change(state["visual.proj"])})
    with pytest.raises(SpecError, match=expected):
        load_model(ModelConfig(architecture=str(tmp_path / "model.json"), weights=str(path)))


def test_files_of_a_transformers_folder_are_named_for_what_they_are(tmp_path):
    write_tiny_clip_model(tmp_path / "clip")
    (tmp_path / "model.json").write_text(json.dumps(TINY_CLIP))
    config = ModelConfig(architecture=str(tmp_path / "model.json"), weights=str(tmp_path / "clip"))
    alone = config.model_copy(update={"weights": str(tmp_path / "clip" / "model.safetensors")})
    with pytest.raises(SpecError, match=r"names of transformers' CLIPModel: give its folder, with config\.json"):
        load_model(alone)
    (tmp_path / "clip" / "model.safetensors").write_bytes(OTHERS["pointer"][0])
    with pytest.raises(SpecError, match=r"model\.safetensors cannot be read: it is a Git LFS pointer"):
        load_model(config)
    (tmp_path / "clip" / "config.json").write_bytes(OTHERS["page"][0])
    with pytest.raises(SpecError, match=r"cannot read .*config\.json: it is an HTML page"):
        load_model(config)
    for name in ("config.json", "../model.json"):
        (tmp_path / "clip" / name).write_bytes(b'{"a":' * 100_000)
        with pytest.raises(SpecError, match="cannot read"):
            load_model(config)
