"""Shard names in settings are patterns: braces expand, then *, ? and [ ]; a path from elsewhere is made one that means itself."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from braceexpand import alphabet, braceexpand

from data_specs.errors import SpecError

MOST_NAMES = 1_000_000
# As braceexpand takes them.
_NUMBERS = re.compile(r"^(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?$")
_LETTERS = re.compile(r"^([A-Za-z])\.\.([A-Za-z])(?:\.\.-?(\d+))?$")
_MOST_CHARACTERS = 256_000_000
_DEEPEST = 16
_LONGEST_NUMBER = 18
_SHOWN = 80


def literal_pattern(path: str) -> str:
    """The pattern that expands to a path and nothing else."""
    return re.sub(r"([\\{}])", r"\\\1", path)


def expand_braces(patterns: Sequence[str]) -> Iterator[str]:
    """The names that patterns stand for, in order; counted before any is made.

    Raises:
        SpecError: braces do not close, or there are too many names.
    """
    if sum(_count(pattern) for pattern in patterns) > MOST_NAMES:
        raise SpecError(f"the shard patterns stand for more than {MOST_NAMES:,} names; expected at most so many")
    return chain.from_iterable(braceexpand(pattern) for pattern in patterns)


def _count(pattern: str) -> int:
    shown = repr(pattern if len(pattern) <= _SHOWN else f"{pattern[:_SHOWN]}…")
    if _depth(pattern) > _DEEPEST:
        raise SpecError(f"shard pattern {shown} nests braces more than {_DEEPEST} deep; write it flatter")
    try:
        n, longest = _size(pattern)
    except _Unclosed as error:
        raise SpecError(f"shard pattern {shown} has braces that do not close") from error
    except _TooLong as error:
        raise SpecError(f"shard pattern {shown} holds a number of more than {_LONGEST_NUMBER} digits") from error
    if n > MOST_NAMES or n * longest > _MOST_CHARACTERS:
        raise SpecError(f"shard pattern {shown} stands for {_told(n)} names; expected at most {MOST_NAMES:,}")
    return n


class _Unclosed(Exception):
    """Braces that do not close."""


class _TooLong(Exception):
    """A number that no file is named with."""


def _told(n: int) -> str:
    return f"{n:,}" if n < 10**15 else "more than 10^15"


def _marks(text: str) -> Iterator[tuple[int, str]]:
    """Places of braces and commas that no backslash stands before."""
    place = 0
    while place < len(text):
        if text[place] == "\\":
            place += 2
            continue
        if text[place] in "{},":
            yield place, text[place]
        place += 1


def _depth(pattern: str) -> int:
    depth = lowest = deepest = 0
    for _, mark in _marks(pattern):
        depth += (mark == "{") - (mark == "}")
        lowest = min(lowest, depth)
        deepest = max(deepest, depth - lowest)
    return deepest


# As braceexpand reads a pattern, with a number and the length of the longest in place of the names.
def _size(pattern: str) -> tuple[int, int]:
    depth = start = 0
    n, longest = 1, 0
    for place, mark in _marks(pattern):
        if mark == "{":
            if depth == 0:
                longest, start = longest + place - start, place
            depth += 1
        elif mark == "}":
            depth -= 1
            if depth == 0:
                times, longer = _expression_size(pattern[start + 1 : place])
                n, longest, start = n * times, longest + longer, place + 1
    if depth != 0:
        raise _Unclosed
    return n, longest + len(pattern) - start


def _expression_size(expression: str) -> tuple[int, int]:
    numbers = _NUMBERS.match(expression)
    if numbers:
        if max(len(part or "") for part in numbers.groups()) > _LONGEST_NUMBER:
            raise _TooLong
        first, last, step = (int(part or 1) for part in numbers.groups())
        return abs(last - first) // (step or 1) + 1, max(len(part) for part in numbers.groups()[:2])
    letters = _LETTERS.match(expression)
    if letters:
        if len(letters.group(3) or "") > _LONGEST_NUMBER:
            raise _TooLong
        first, last = (alphabet.index(letter) for letter in letters.groups()[:2])
        return abs(last - first) // (int(letters.group(3) or 1) or 1) + 1, 1
    parts = list(_sequence(expression))
    if len(parts) == 1:
        n, longest = _size(expression)
        return n, longest + 2
    sizes = [_size(part) for part in parts]
    return sum(n for n, _ in sizes), max(longest for _, longest in sizes)


def _sequence(expression: str) -> Iterable[str]:
    depth = start = 0
    parts: list[str] = []
    for place, mark in _marks(expression):
        depth += (mark == "{") - (mark == "}")
        if mark == "," and depth == 0:
            parts.append(expression[start:place])
            start = place + 1
    return [*parts, expression[start:]]


def glob_marks(name: str) -> Sequence[str]:
    """Characters of a name by which it may stand for several files."""
    return [character for character in "*?[" if character in name]
