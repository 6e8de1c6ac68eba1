"""Devices that a machine may have."""

import pytest
import torch


def with_cuda(test):
    """A test that needs a CUDA device, and is left out where there is none."""
    missing = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
    return pytest.mark.cuda(missing(test))
