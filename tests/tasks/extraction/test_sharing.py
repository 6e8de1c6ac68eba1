"""Which parts a process takes next, by what others are at."""

from pathlib import Path

import pytest

from tasks.extraction.parts import Part
from tasks.extraction.sets import RowSet
from tasks.extraction.sharing import SharedParts
from tasks.lineage.leases import Leases
from tasks.lineage.store import Store
from tests.cases.recipes import recipe_of


@pytest.fixture
def parts():
    return [Part(recipe_of(code=f"{i:02d}"), f"{i}.tar", Path(f"{i}.tar"), "0" * 64, None, None) for i in range(8)]


@pytest.mark.parametrize(
    ("taken", "left", "expected"),
    [
        ((), range(8), [0, 1, 2, 3, 4, 5, 6, 7]),
        # Somebody began at the first and is heading for the second: the other half is far from both.
        ((0,), range(8), [4, 5, 6, 7]),
        ((0, 4), range(8), [2, 3]),
        ((4,), range(8), [0, 1, 2, 3]),
        # A part that is there already parts nobody's stretch.
        ((0,), (0, 1, 6, 7), [6, 7]),
        ((6,), (6, 7), [7]),
        ((6, 7), (6, 7), []),
    ],
)
def test_a_process_takes_the_longest_stretch_that_nobody_is_at_or_heading_for(tmp_path, parts, taken, left, expected):
    others = Leases(tmp_path)
    held = [others.take(parts[index].ref) for index in taken]
    shared = SharedParts(RowSet("rows", None, parts, []))
    assert [*shared._stretch([*left], Store(tmp_path))] == expected
    for release in held:
        release()
