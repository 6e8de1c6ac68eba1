"""Which nights were due and never began, over changes of the clock and of the schedule."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from data_specs.moments import moment_of
from data_specs.night import Schedule
from flows.nightly.looking_back.missed import asked_by_hand, due_times, missed_nights
from tests.cases.nights import at, night

NOW = moment_of(at(10, 12))


BEGUN = at(5, 12)


def schedule(moment=BEGUN, cron="0 3 * * *", timezone="UTC"):
    return Schedule(at=moment, cron=cron, timezone=timezone)


def due(*schedules, now=NOW):
    return [found.at.isoformat() for found in due_times(schedules, now)]


def missed(*nights, schedules=None, now=NOW):
    return [found.at.isoformat() for found in missed_nights(schedules or [schedule()], nights, now)]


def test_nights_are_due_from_the_schedules_moment_until_now():
    assert due(schedule()) == [at(day) for day in range(6, 11)]
    assert due() == []
    assert due(schedule(cron=None)) == []
    assert due(schedule(at(11))) == []


@pytest.mark.parametrize(("first", "hours"), [("2026-03-28", [2, 1, 1]), ("2026-10-24", [1, 2, 2])])
def test_three_o_clock_in_berlin_stays_three_o_clock_when_the_clock_changes(first, hours):
    start = datetime.fromisoformat(f"{first}T00:00:00+00:00")
    found = due_times([schedule(start.isoformat(), timezone="Europe/Berlin")], start + timedelta(days=3))
    assert [item.at.hour for item in found] == hours
    assert {item.at.astimezone(ZoneInfo("Europe/Berlin")).hour for item in found} == {3}


def test_a_changed_schedule_holds_from_its_own_moment_and_an_ended_one_wants_no_night():
    found = due(schedule(), schedule(at(7, 12), "30 5 * * *"), schedule(at(9, 12), None))
    assert found == [at(6), at(7), at(8, 5, 30), at(9, 5, 30)]


def test_a_schedule_by_the_minute_gives_its_newest_times_alone():
    found = due_times([schedule(at(1, 0, month=1), "*/5 * * * *")], NOW)
    assert 1900 <= len(found) <= 2000
    assert found[-1].at == NOW - timedelta(minutes=5)
    assert {after.at - before.at for before, after in pairwise(found)} == {timedelta(minutes=5)}


def test_a_due_time_that_no_night_answers_is_missed():
    nights = [night(at(day, 3, 1), due=at(day)) for day in (6, 8, 9)]
    assert missed(*nights) == [at(7), at(10)]


def test_a_late_night_answers_the_time_that_it_was_due_and_not_the_one_after():
    late = night(at(8, 4), due=at(7))
    assert missed(late, night(at(6), due=at(6))) == [at(8), at(9), at(10)]


def test_a_night_that_was_asked_for_by_hand_answers_the_due_time_before_it():
    assert missed(night(at(6, 9)), night(at(8, 2, 59))) == [at(8), at(9), at(10)]


def test_what_was_due_a_moment_ago_may_still_begin():
    nights = [night(at(day), due=at(day)) for day in range(6, 10)]
    assert missed(*nights, now=moment_of(at(10, 3, 9))) == []
    assert missed(*nights, now=moment_of(at(10, 3, 10))) == [at(10)]


def test_a_missed_night_says_whether_another_one_was_still_going_on():
    long = night(at(6), due=at(6), ended=at(7, 8))
    (first, second) = missed_nights([schedule()], [long], moment_of(at(8, 4)))
    assert first.sentence == "the night of 2026-11-06 03:00 was not over"
    assert "was down" in second.sentence
    assert first.at.tzinfo is UTC


def test_a_night_asked_for_by_hand_does_not_hide_that_the_schedules_own_never_fired():
    nights = [night(at(6), due=at(6)), night(at(7, 9)), night(at(7, 11)), night(at(8), due=at(8)), night(at(8, 9))]
    assert asked_by_hand([schedule()], nights, NOW) == {nights[1].id: moment_of(at(7))}
    assert missed(*nights) == [at(9), at(10)]


def test_where_no_schedule_ever_began_a_night_none_is_by_hand():
    assert asked_by_hand([schedule()], [night(at(6, 9)), night(at(7))], NOW) == {}
