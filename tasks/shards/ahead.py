"""What lies elsewhere, fetched by threads while what came before it is read, in its order."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

from tasks.shards.wanted import wanted_until

# Beside the one that is read.
MOST_AHEAD = 2
_Fetched = TypeVar("_Fetched")


class Ahead(Generic[_Fetched]):
    """Fetches locations, at most two beyond the one that was taken last; what is under way when it ends is given up."""

    def __init__(
        self, fetch: Callable[[str], _Fetched], locations: Iterable[str], *, at_once: int = MOST_AHEAD
    ) -> None:
        """Fetch `locations` in their order, so many `at_once`; nothing begins before this is entered."""
        self._fetch, self._left = fetch, iter(locations)
        self._pool = ThreadPoolExecutor(at_once, "ahead")
        self._coming: deque[Future[_Fetched]] = deque()
        self._ended = threading.Event()

    def __enter__(self) -> "Ahead[_Fetched]":
        """Begin with the first ones."""
        self._go_on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what was not taken; when this returns, no thread of it fetches."""
        self._ended.set()
        self._pool.shutdown(cancel_futures=True)

    def take(self) -> _Fetched:
        """What was fetched of the next location; waits for it, and raises what fetching it did."""
        coming = self._coming.popleft()
        self._go_on()
        return coming.result()

    def _go_on(self) -> None:
        while len(self._coming) < MOST_AHEAD and (location := next(self._left, None)) is not None:
            self._coming.append(self._pool.submit(self._fetched, location))

    def _fetched(self, location: str) -> _Fetched:
        with wanted_until(self._ended):
            return self._fetch(location)
