"""Tensors that come to the host in one copy keep every bit."""

import pytest
import torch

from tasks.extraction.host_copy import on_host, pack, unpack
from tests.cases.devices import with_cuda


def tensors(seed, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    rows = int(torch.randint(1, 9, (1,), generator=generator))
    made = [
        torch.randn(rows, 3, generator=generator),
        torch.rand(rows, generator=generator) > 0.5,
        torch.randint(-5, 5, (rows, 2), generator=generator),
        torch.randn(7, rows, generator=generator).T,
        torch.tensor([float("nan"), -0.0, float("inf")]),
        torch.randint(0, 9, (rows,), generator=generator, dtype=torch.int32),
        torch.rand(5, generator=generator) > 0.5,
        torch.empty(0, 4),
    ]
    return [tensor.to(device) for tensor in made]


def same_bits(one, other):
    bits = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in (one, other)]
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(*bits)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_packed_is_unpacked_to_the_last_bit(seed):
    given = tensors(seed)
    packed = pack(given)
    assert packed.numel() == sum(tensor.numel() * tensor.element_size() for tensor in given)
    assert all(map(same_bits, unpack(packed, given), given))


def test_tensors_of_the_cpu_are_not_copied():
    given = tensors(0)
    assert all(found is tensor for found, tensor in zip(on_host(given), given, strict=True))
    assert on_host([]) == []


@with_cuda
def test_a_gpu_sends_the_same_bits():
    given = tensors(1, "cuda")
    found = on_host(given)
    assert all(tensor.device.type == "cpu" for tensor in found)
    assert all(same_bits(one, other.cpu()) for one, other in zip(found, given, strict=True))
