"""Libraries kept from drawing on the screen, which shows this program's own progress."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_bars() -> Iterator[None]:
    """Let transformers draw no bar, such as "Loading weights", for as long as the block lasts."""
    from transformers.utils import logging

    library: Any = logging
    if not library.is_progress_bar_enabled():
        yield
        return
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.enable_progress_bar()
