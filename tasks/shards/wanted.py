"""Whether anybody still waits for what a thread fetches."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# So often one who waits for something else looks whether he himself is waited for.
LOOK_SECONDS = 0.2
_ended: ContextVar[threading.Event | None] = ContextVar("ended", default=None)


class NoLongerWanted(Exception):
    """Nobody waits for what this thread fetches."""


@contextmanager
def wanted_until(ended: threading.Event) -> Iterator[None]:
    """What this thread fetches within the block is wanted until an event; else as long as the thread itself goes on."""
    token = _ended.set(ended)
    try:
        yield
    finally:
        _ended.reset(token)


def is_unwanted() -> bool:
    """Whether nobody waits any more."""
    ended = _ended.get()
    return ended is not None and ended.is_set()


def require_wanted() -> None:
    """Go on only where somebody waits.

    Raises:
        NoLongerWanted: nobody does.
    """
    if is_unwanted():
        raise NoLongerWanted


def look_seconds(left: float) -> float:
    """How long to wait for something at once, of so many seconds."""
    return left if _ended.get() is None else min(left, LOOK_SECONDS)


def pause(seconds: float) -> None:
    """Wait; raises `NoLongerWanted` as soon as nobody waits for this thread."""
    ended = _ended.get()
    if ended is None:
        time.sleep(seconds)
    else:
        ended.wait(seconds)
        require_wanted()
