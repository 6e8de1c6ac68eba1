"""Freed memory that the C library keeps goes back to the machine."""

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest

from tasks.extraction.freed_memory import return_freed_memory

_MB = 2**20


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(
    not (hasattr(ctypes.CDLL(None), "malloc_trim") and Path("/proc/self/statm").is_file()), reason="not glibc on Linux"
)
def test_what_lies_freed_below_a_block_in_use_is_returned():
    blocks = [np.ones(60_000, np.uint8) for _ in range(2_000)]
    last = blocks.pop()  # the C library returns by itself only what lies above it
    held = _resident()
    blocks.clear()
    return_freed_memory()
    assert held - _resident() > 80 * _MB
    assert last.all()
