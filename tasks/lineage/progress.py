"""Progress of long work, reported to whoever listens, as logging does with messages."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

_Item = TypeVar("_Item")


class ProgressSink(Protocol):
    """Receives progress; the command line draws bars with it."""

    def start(self, stage: str, total: int | None, unit: str) -> None:
        """A stage begins; `total` counts its units where that is known."""

    def advance(self, stage: str, n: int) -> None:
        """`n` more units are done."""

    def finish(self, stage: str) -> None:
        """The stage is over, well or not."""

    def notice(self, text: str) -> None:
        """Something that the user should read, such as skipped samples."""


class _Silent:
    def start(self, stage: str, total: int | None, unit: str) -> None:
        return

    def advance(self, stage: str, n: int) -> None:
        return

    def finish(self, stage: str) -> None:
        return

    def notice(self, text: str) -> None:
        return


class Notices(_Silent):
    """Keeps what the user should read, in `texts`, and nothing else of progress."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.texts: list[str] = []

    def notice(self, text: str) -> None:
        """See `ProgressSink`."""
        self.texts.append(text)


_sink: ProgressSink = _Silent()


@contextmanager
def listening(sink: ProgressSink) -> Iterator[None]:
    """Send this process's progress to `sink` for as long as the block lasts."""
    global _sink  # noqa: PLW0603  (one process has one screen)
    before, _sink = _sink, sink
    try:
        yield
    finally:
        _sink = before


def heard_by() -> ProgressSink:
    """Who listens to this process's progress."""
    return _sink


def unheard() -> AbstractContextManager[None]:
    """Let nobody hear of this process's progress for as long as the block lasts."""
    return listening(_Silent())


def is_heard() -> bool:
    """Whether anybody listens to this process's progress."""
    return type(_sink) is not _Silent


def advance(stage: str, n: int = 1) -> None:
    """Report that `n` more units of a stage are done."""
    _sink.advance(stage, n)


def notice(text: str) -> None:
    """Tell the user something."""
    _sink.notice(text)


@contextmanager
def stage(name: str, total: int | None, unit: str) -> Iterator[None]:
    """Frame a stage of `total` units."""
    _sink.start(name, total, unit)
    try:
        yield
    finally:
        _sink.finish(name)


def counted(name: str, items: Sequence[_Item], unit: str) -> Iterator[_Item]:
    """Items of a stage one by one, each done when the next one is asked for."""
    with stage(name, len(items), unit):
        for item in items:
            yield item
            advance(name)
