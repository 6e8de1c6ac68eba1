"""Two things timed by turns, so that a busy machine slows both alike."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Clock = Callable[[], float]


def seconds(work: Callable[[], Any], clock: Clock = time.perf_counter) -> float:
    start = clock()
    work()
    return clock() - start


def by_turns(
    first: Callable[[], Any], second: Callable[[], Any], repeats: int, clock: Clock = time.perf_counter
) -> tuple[float, float]:
    """Median seconds of each, after one call of each that is not counted."""
    first(), second()
    times = [(seconds(first, clock), seconds(second, clock)) for _ in range(repeats)]
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times)


def median_by_turns(
    first: tuple[Callable[[], Any], Callable[[Any], Any]],
    second: tuple[Callable[[], Any], Callable[[Any], Any]],
    repeats: int,
) -> tuple[float, float]:
    """As `by_turns`, of work that needs something made anew before each call, which is not counted."""

    def once(prepare: Callable[[], Any], work: Callable[[Any], Any]) -> float:
        prepared = prepare()
        return seconds(lambda: work(prepared))

    once(*first), once(*second)
    times = [(once(*first), once(*second)) for _ in range(repeats)]
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times)


def ratio(value: float, limit: str, **measured: float) -> dict[str, Any]:
    return {"value": round(value, 3), "unit": "ratio", "limit": limit, **{k: round(v, 4) for k, v in measured.items()}}


@contextmanager
def one_thread() -> Iterator[None]:
    """On a busy machine, several threads wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
