"""What threads make ahead: in order, not too far, and errors in their turn."""

from threading import Event

import pytest

from tasks.extraction.ahead import made_ahead


def test_what_is_made_comes_in_its_order_and_no_more_is_begun_than_is_asked_for():
    begun, first_may_end = [], Event()

    def make(number):
        begun.append(number)
        assert number or first_may_end.wait(10)
        return 10 * number

    made = made_ahead(make, range(9), n_ahead=3)
    first_may_end.set()
    assert next(made) == 0
    assert len(begun) <= 4  # the one that is used, and three more
    assert [*made] == [10, 20, 30, 40, 50, 60, 70, 80]
    assert sorted(begun) == [*range(9)]


def test_an_error_is_met_in_its_turn_and_nothing_is_begun_after_it():
    begun = []

    def make(number):
        begun.append(number)
        if number == 2:
            raise ValueError("of the third")
        return number

    made = made_ahead(make, range(9))
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(ValueError, match="of the third"):
        next(made)
    assert max(begun) <= 4
    assert [*made] == []
