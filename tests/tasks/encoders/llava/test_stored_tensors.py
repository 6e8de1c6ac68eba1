"""Where tensors lie in a file, against safetensors' own reader; and headers that lie."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_specs.errors import SpecError
from tasks.encoders.llava.stored_tensors import stored_tensors


@pytest.fixture
def file(tmp_path):
    generator = torch.Generator().manual_seed(0)
    state = {
        f"{dtype}.{size}": torch.randn(size, generator=generator).to(dtype)
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64)
        for size in ((3, 5), (0, 4), ())
    }
    save_file(state | {"whole": torch.arange(7)}, tmp_path / "a.safetensors", {"format": "pt"})
    return tmp_path / "a.safetensors"


def test_each_tensor_is_read_as_safetensors_reads_it(file):
    found, state = stored_tensors(file, "MODEL"), load_file(file)
    assert found.keys() == state.keys()
    assert found["whole"].dtype is None
    with pytest.raises(SpecError, match="tensor whole is I64; give the checkpoint in float16"):
        found["whole"].read()
    for name in state.keys() - {"whole"}:
        value = found[name].read()
        assert (value.dtype, value.shape) == (state[name].dtype, state[name].shape)
        assert torch.equal(value, state[name])
    for name, tensor in found.items():
        content = state[name].reshape(-1).view(torch.uint8).numpy().tobytes()
        assert tensor.sha256() == hashlib.sha256(content).hexdigest()


def with_header(file, change):
    content = file.read_bytes()
    n_bytes = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n_bytes])
    text = change(header)
    text = text if isinstance(text, bytes) else json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n_bytes :])


LYING = {
    "a hole": (lambda header: header.pop("whole"), "begins at byte|has .* bytes, its header speaks of"),
    "an overlap": (lambda header: header["torch.float32.(3, 5)"].update(data_offsets=[0, 60]), "begins at byte"),
    "a negative place": (lambda header: header["whole"].update(data_offsets=[-8, 48]), "lies at -8 to 48"),
    "a shape of other bytes": (
        lambda header: header["torch.float32.(3, 5)"].update(shape=[3, 6]),
        r"\[3, 6\] has 60 b",
    ),
    "no places": (lambda header: header["whole"].pop("data_offsets"), "its header cannot be read"),
    "a list": (lambda header: header.update(whole=[1]), "its header cannot be read"),
    "no JSON": (lambda header: b'{"a": ', "its header cannot be read"),
    "a list of all": (lambda header: b"{}, []", "its header cannot be read"),
}


@pytest.mark.parametrize("case", LYING)
def test_a_header_that_lies_is_a_damaged_file(file, case):
    change, told = LYING[case]
    with_header(file, change)
    with pytest.raises(SpecError, match=rf"MODEL: .*a.safetensors is damaged: .*({told}).*; copy or download it again"):
        stored_tensors(file, "MODEL")
