"""Which parts a process takes next, by what others are at, and what becomes of those that are there."""

from pathlib import Path
from threading import Event

import pytest

from data_specs.errors import DataError
from tasks.extraction.parts import Part
from tasks.extraction.sets import RowSet
from tasks.extraction.sharing import SharedParts, one_behind
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


def test_what_becomes_of_a_part_is_settled_while_the_next_is_made_and_before_anybody_goes_on():
    settled, may_go_on = [], Event()

    def settle(index):
        may_go_on.wait(600)
        settled.append(index)

    with one_behind(settle) as settling:
        settling(0)
        assert settled == []  # the next part is made meanwhile
        may_go_on.set()
        for index in (1, 2):
            settling(index)
    assert settled == [0, 1, 2]


def test_an_error_of_settling_is_that_of_the_run_and_nothing_is_settled_after_it():
    settled = []

    def settle(index):
        settled.append(index)
        raise DataError(f"part {index} has no ratio")

    def settle_all(n):
        with one_behind(settle) as settling:
            for index in range(n):
                settling(index)

    for n in (1, 2, 3):
        settled.clear()
        with pytest.raises(DataError, match="part 0 has no ratio"):
            settle_all(n)
        assert settled == [0]
