"""What threads make while what they made before is used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Given = TypeVar("_Given")
_Item = TypeVar("_Item")


def one_ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The same items; the next one is made by a thread while one is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def made_ahead(make: Callable[[_Given], _Item], given: Iterable[_Given], n_ahead: int = 2) -> Iterator[_Item]:
    """What is made of each of some, in their order; `n_ahead` are made by threads while one is used."""
    with ThreadPoolExecutor(n_ahead) as pool:
        coming: deque[Future[_Item]] = deque()
        for each in given:
            coming.append(pool.submit(make, each))
            if len(coming) > n_ahead:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
