"""How a command ends by a signal: what was kept, how to go on, and an exit status that says which signal it was."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from data_specs.wording import one_line

_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated (SIGTERM)",
    signal.SIGHUP: "the terminal was closed (SIGHUP)",
}
_NOTHING = "nothing was written"
# `timeout` and `uv run` pass on a signal that the whole group was sent already.
_SAME_SECONDS = 0.5
_AGAIN_SECONDS = 0.02
# A library's bare `except` may swallow the exception; cleaning up takes less than this.
_INSIST_SECONDS = 10.0
_END_SECONDS = 5.0


class Stopped(BaseException):
    """A signal asks for the end; no library takes it for an error or for its own KeyboardInterrupt."""


class Ending:
    """What a process was told, and what is kept of its work."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        self.signal: signal.Signals | None = None
        self.kept = _NOTHING
        self._told = 0.0
        self.over = False
        self._before = sys.unraisablehook
        self._process = os.getpid()

    def hear(self, number: int, frame: FrameType | None) -> None:
        """End the work by an exception; a second signal ends the process at once."""
        if os.getpid() != self._process:
            # A worker that was just forked. Ctrl-C reaches its parent, too, which ends it.
            if number != signal.SIGINT:
                os._exit(128 + number)
        elif self.signal is None:
            self.signal, self._told = signal.Signals(number), time.monotonic()
            # The kernel's timer and no thread: a thread's start takes locks that the interrupted code may hold.
            signal.signal(signal.SIGALRM, self._insist)
            self._insist(number, frame)
        elif time.monotonic() - self._told > _SAME_SECONDS:
            os._exit(128 + number)

    def unraisable(self, error: "sys.UnraisableHookArgs") -> None:
        """Take what Python can only print: once the end has begun, libraries trip over what is gone already."""
        if self.signal is None:
            self._before(error)
        elif issubclass(error.exc_type, Stopped):
            # Raised within a finalizer, which swallows it; a moment later it is not.
            _ring_in(_AGAIN_SECONDS)

    def end_soon(self) -> None:
        """Let what is left of the process take some seconds and no more.

        Raised between two steps of a library, the exception may have left one of its locks taken, for which a
        finalizer then waits for ever.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGALRM, lambda *_: os._exit(self.status))
            _ring_in(_END_SECONDS)

    def _insist(self, _number: int, frame: FrameType | None) -> None:
        if self.over or os.getpid() != self._process:
            return
        if self._within_hook(frame):
            # What is raised here is swallowed without a word.
            _ring_in(_AGAIN_SECONDS)
            return
        _ring_in(_INSIST_SECONDS)
        raise Stopped

    def _within_hook(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code is Ending.unraisable.__code__:
                return True
            frame = frame.f_back
        return False

    @property
    def status(self) -> int:
        """The exit status, as a shell counts it."""
        return 128 + int(self.signal or signal.SIGINT)

    def __str__(self) -> str:
        return f"{_WORDS[self.signal or signal.SIGINT]}; {self.kept}"


_endings: list[Ending] = []


def _ring_in(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)


@contextmanager
def signals_heard() -> Iterator[Ending]:
    """Let SIGINT, SIGTERM and SIGHUP end the block by `Stopped`; those that were ignored, as by nohup, stay so."""
    ending, hook = Ending(), sys.unraisablehook
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in _WORDS:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):
                before[number] = handler
                signal.signal(number, ending.hear)
        sys.unraisablehook = ending.unraisable
    _endings.append(ending)
    try:
        yield ending
    finally:
        _endings.remove(ending)
        # Of a process that was told to end, the handlers stay: it must still end quietly.
        if ending.signal is None:
            for number, handler in before.items():
                signal.signal(number, handler)
            sys.unraisablehook = hook


@contextmanager
def work_kept_in(store: str) -> Iterator[None]:
    """Say of a command that ends within the block that its finished work is in a store."""
    ending = _endings[-1] if _endings else Ending()
    before, ending.kept = ending.kept, f"finished work is kept in store {store}, the same command goes on there"
    yield
    ending.kept = before


def say(text: str) -> None:
    """Write one line to standard error, where there still is one."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    with suppress(OSError, ValueError):
        sys.stderr.write(one_line(text) + "\n")
        sys.stderr.flush()
