import os
import pickle
import random

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_specs.errors import SpecError
from tasks.encoders.checkpoint import read_state_dict, write_state_dict
from tests.cases.models import tiny_model


@pytest.fixture(scope="module")
def state():
    return tiny_model().state_dict()


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [False, True])
def test_pt_files_are_read_with_or_without_wrapper_and_prefix(tmp_path, state, wrapped, prefix, zipped):
    named = {prefix + name: tensor for name, tensor in state.items()}
    content = {"epoch": 3, "state_dict": named} if wrapped else named
    torch.save(content, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    assert same(read_state_dict(tmp_path / "model.pt"), state)


def test_what_a_torchscript_archive_carries_beside_parameters_is_left_out(tmp_path, state):
    extra = {name: torch.tensor(3) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save(state | extra, tmp_path / "model.pt")
    assert same(read_state_dict(tmp_path / "model.pt"), state)


def test_tensors_that_share_memory_in_a_pt_file_can_be_written_again(tmp_path):
    base = torch.arange(12.0)
    tied = {"a": base, "b": base, "c": base[6:].view(2, 3), "d": torch.ones(2)}
    torch.save(tied, tmp_path / "tied.pt")
    found = read_state_dict(tmp_path / "tied.pt")
    assert len({tensor.untyped_storage().data_ptr() for tensor in found.values()}) == 4
    write_state_dict(found, tmp_path / "again.safetensors")
    assert same(load_file(tmp_path / "again.safetensors"), tied)


class Payload:
    """Pickles as a call that makes a file: what a malicious checkpoint does."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_pickle_never_runs(tmp_path, protocol):
    proof = tmp_path / "ran"
    pickle.loads(pickle.dumps(Payload(proof), protocol=protocol))
    assert proof.is_dir()
    proof.rmdir()
    torch.save({"a": torch.ones(2), "b": Payload(proof)}, tmp_path / "zip.pt", pickle_protocol=protocol)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Payload(proof), protocol=protocol))
    for name in ("zip.pt", "bare.pt"):
        with pytest.raises(SpecError, match=rf"{name} holds pickled objects that are not tensors and is not unpickled"):
            read_state_dict(tmp_path / name)
        assert not proof.exists()


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(SpecError, match=r"is not unpickled; save it as \.safetensors"):
        read_state_dict(tmp_path / "module.pt")


@pytest.mark.parametrize(
    "content",
    [[torch.ones(2)], {}, {"a": torch.ones(2), "epoch": 3}, {3: torch.ones(2)}, {"state_dict": [1]}, "text"],
    ids=["list", "empty", "with a number", "numbered", "wrapped list", "text"],
)
def test_a_pt_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(SpecError, match=r"weights file .*model\.pt holds no state dict of tensors"):
        read_state_dict(tmp_path / "model.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_missing_empty_cut_and_overwritten_weights_are_refused(tmp_path, state, suffix):
    path = tmp_path / f"model{suffix}"
    with pytest.raises(SpecError, match=rf"weights file .*model{suffix} does not exist"):
        read_state_dict(path)
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    whole = path.read_bytes()
    for content in (
        b"",
        whole[:7],
        whole[: len(whole) // 2],
        whole[:-1],
        bytes(1000),
        b"hello world, these are no weights",
    ):
        path.write_bytes(content)
        with pytest.raises(SpecError, match=rf"weights file .*model{suffix} (cannot be read: .|holds )"):
            read_state_dict(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("zipped", [False, True])
def test_a_damaged_pt_file_is_read_or_refused_but_never_breaks_the_reader(tmp_path, zipped):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.arange(6.0), "b": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    refused = 0
    for seed in range(150):
        damaged, draw = bytearray(whole), random.Random(seed)
        for _ in range(3):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            read_state_dict(path)
        except SpecError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_written_file_has_the_usual_mode_and_one_written_over_keeps_its_own(tmp_path, mask, mode):
    path, before = tmp_path / "model.safetensors", os.umask(mask)
    try:
        write_state_dict({"w": torch.ones(2)}, path, {"format": "pt", "more": "x"})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode
    path.chmod(0o604)
    write_state_dict({"w": torch.ones(2)}, path)
    assert path.stat().st_mode & 0o777 == 0o604
