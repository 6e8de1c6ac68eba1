"""What was freed goes back to the machine."""

import ctypes
from functools import cache
from typing import Any

import pyarrow as pa


def return_freed_memory() -> None:
    """Let go of what was freed and is kept for later, by Arrow and, for each thread, by the C library.

    Large matrices leave pieces that the next ones do not fit into: some hundred megabytes after a few shards. Other C
    libraries than glibc are let be.
    """
    pa.default_memory_pool().release_unused()
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
