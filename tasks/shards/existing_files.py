"""What files there are: those that a name with *, ? or [ ] stands for, and those beside a name that nobody has."""

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from data_specs.errors import SpecError
from data_specs.shard_patterns import MOST_NAMES, glob_marks
from data_specs.suggestions import did_you_mean
from data_specs.wording import printable

_NUMBER = re.compile(r"\d+")
# Looking for what is alike takes a second for so many.
_MOST_ALIKE = 10_000


def matching_files(name: str) -> list[str]:
    """The files that a name stands for, sorted; the name itself where it is there, or where nothing is.

    A folder stands for the files in it that end in `.tar`. A part of the path that is there by that very name, such as a folder `[x]`, is no pattern.

    Raises:
        SpecError: there are too many.
    """
    if os.path.isdir(name):  # noqa: PTH112  (never raises)
        name = os.path.join(name, "*.tar")  # noqa: PTH118
    elif not glob_marks(name) or os.path.lexists(name):
        return [name]
    found = sorted(path for path in _paths(name) if os.path.isfile(path))  # noqa: PTH113  (never raises)
    if len(found) > MOST_NAMES:
        raise SpecError(f"shard pattern {name!r} matches {len(found):,} files; expected at most {MOST_NAMES:,}")
    return found or [name]


def stands_for_files(name: str) -> bool:
    """Whether what a name stands for may be another list of files tomorrow: a pattern, or a folder."""
    return bool(glob_marks(name)) or os.path.isdir(name)  # noqa: PTH112  (never raises)


def what_is_there(missing: str) -> str:
    """A clause that tells files which are called like one that is not there; empty where there are none."""
    folder, name = os.path.split(missing)
    if glob_marks(name):
        return f"; no file of {folder or '.'} matches"
    entries = _entries(folder)
    if entries is None:
        return f"; there is no folder {folder}"
    # The last number of the name counts shards.
    numbers = list(_NUMBER.finditer(name))
    if numbers:
        before, after = name[: numbers[-1].start()], name[numbers[-1].end() :]
        pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
        there = sorted(
            (found[1] for entry in entries if (found := pattern.fullmatch(entry))), key=lambda n: (int(n), n)
        )
        if there:
            return f"; {_listed(there)}"
    return printable(did_you_mean(name, entries[:_MOST_ALIKE]))


def _listed(numbers: Sequence[str]) -> str:
    first, last = numbers[0], numbers[-1]
    if len(numbers) == 1:
        return f"shard {first} exists"
    if int(last) - int(first) == len(numbers) - 1:
        return f"shards {first} to {last} exist"
    return f"{len(numbers)} shards from {first} to {last} exist"


def _paths(path: str) -> list[str]:
    folder, name = os.path.split(path)
    folders = _paths(folder) if folder != path and glob_marks(folder) else [folder]
    found = []
    for each in folders:
        joined = os.path.join(each, name)  # noqa: PTH118  (a Path forgets a leading ./)
        if os.path.lexists(joined):
            found.append(joined)
        elif glob_marks(name):
            found += [os.path.join(each, entry) for entry in _entries(each) or () if _matches(entry, name)]  # noqa: PTH118
    return found


def _matches(entry: str, pattern: str) -> bool:
    return fnmatchcase(entry, pattern) and (pattern.startswith(".") or not entry.startswith("."))


def _entries(folder: str) -> list[str] | None:
    try:
        return os.listdir(folder or ".")  # noqa: PTH208
    except (OSError, ValueError):
        return None
