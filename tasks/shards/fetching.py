"""Bytes of a shard from elsewhere, with bounded patience, and what their source says of them."""

import queue
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

from data_specs.wording import first_line
from tasks.shards.wanted import look_seconds, require_wanted

CONNECT_SECONDS = 10.0
# A source that gives less than this in so many seconds is given up.
PATIENCE_SECONDS = 60.0
LEAST_BYTES_PER_SECOND = 1000
_AHEAD = 8
_LONGEST_REASON = 200


class Unfetchable(Exception):
    """Why a shard cannot be had, as a part of a sentence."""


class Transient(Unfetchable):
    """A reason that may be gone a moment later; `seconds` is how long the source asks to wait."""

    seconds = 0.0


class NoRest(Transient):
    """What lacks of a file is not given; all of it may be."""


class Stalled(Transient):
    """Nothing, or next to nothing, came for too long."""


@dataclass(frozen=True)
class Answer:
    """What a source says of a file before its bytes come; None for what it does not say.

    `etag` is a strong one: as long as it stays, so do the bytes. `md5` and `sha256` are in hexadecimal, and of the whole
    file. The bytes that come begin at byte `start`.
    """

    size_bytes: int | None = None
    etag: str | None = None
    md5: str | None = None
    sha256: str | None = None
    start: int = 0


@dataclass(frozen=True)
class Rest:
    """Where to go on with a file of which a part is there already, and of which version that part is."""

    start: int
    etag: str


class ByteSource(Protocol):
    """Something that gives a file's bytes."""

    def chunks(self) -> Iterator[Answer | bytes]:
        """What it says of the file, where it says anything, and the bytes in order; ends only where they are complete."""

    def close(self) -> None:
        """Let go of what it holds; called from another thread than `chunks`."""


def patient_chunks(source: ByteSource, patience: float | None = None) -> Generator[Answer | bytes, None, None]:
    """What a source gives, as long as it gives enough.

    The source is read in a thread of its own: whatever it waits in, a look-up of a name, a handshake or
    headers that drip, this one counts the time and can be interrupted.

    Raises:
        Unfetchable: the source fails, or stalls.
        NoLongerWanted: nobody waits for it.
    """
    patience = PATIENCE_SECONDS if patience is None else patience
    got: queue.Queue[Answer | bytes | BaseException | None] = queue.Queue(_AHEAD)
    ended = threading.Event()
    threading.Thread(target=_pump, args=(source, got, ended), name="fetch", daemon=True).start()
    try:
        since, n_bytes = time.monotonic(), 0
        while True:
            require_wanted()
            left = since + patience - time.monotonic()
            if left <= 0:
                if n_bytes < LEAST_BYTES_PER_SECOND * patience:
                    raise Stalled(f"only {n_bytes} bytes came in {patience:g} s" if n_bytes else _silent(patience))
                since, n_bytes = time.monotonic(), 0
                continue
            try:
                item = got.get(timeout=look_seconds(left))
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            n_bytes += 0 if isinstance(item, Answer) else len(item)
            yield item
    finally:
        ended.set()
        source.close()


def _silent(patience: float) -> str:
    return f"nothing came for {patience:g} s"


def _pump(
    source: ByteSource, got: "queue.Queue[Answer | bytes | BaseException | None]", ended: threading.Event
) -> None:
    def put(item: Answer | bytes | BaseException | None) -> bool:
        while not ended.is_set():
            try:
                got.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    try:
        for item in source.chunks():
            if not put(item):
                return
        put(None)
    except Unfetchable as error:
        put(error)
    except BaseException as error:  # each transport raises its own
        put(Unfetchable(words_of(error)))


def words_of(error: BaseException) -> str:
    """The first line of an error, cut where it is long."""
    return first_line(error)[:_LONGEST_REASON]
