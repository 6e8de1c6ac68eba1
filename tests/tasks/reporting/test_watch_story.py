"""What somebody who is woken is told of one model on one set."""

import pytest

from data_specs.history import HistoryRow
from tasks.reporting.watch_story import LIGHTS, story_of, worst_light
from tests.cases.nights import at, gate_result

GATES = {"passed": "pass", "failed": "fail", "unsure": "unsure", "not_comparable": "not_comparable"}


def row(day, outcome="passed", **more):
    gates = [gate_result(GATES[outcome])] if outcome else []
    given = {"at": at(day), "state": "measured", "watch": "w", "model": "m", "set": "s", "outcome": outcome}
    return HistoryRow(**(given | {"gates": gates, "figures": {"GS": 50.0}} | more))


def gap(day, state="missed", sentence="nothing began"):
    return HistoryRow(at=at(day), state=state, watch="w", sentence=sentence)


def test_a_fall_is_told_with_its_gate_its_first_night_the_last_good_one_and_what_changed_between():
    rows = [
        row(1, changes=["long ago"]),
        row(2),
        gap(3),
        row(4, "failed", changes=["torch 2.9 -> 2.10"], shards_added=["a.tar"]),
        row(5, "failed"),
    ]
    found = story_of(rows)
    assert (found.light, found.word) == ("failed", "FAILED")
    assert found.sentences == ["GS min_change -1: GS did what makes it fail"]
    assert found.since == "since 2026-11-04 03:00, 2 nights in a row; the last good night was 2026-11-02 03:00"
    assert found.changed == ["2026-11-04 03:00: 1 shard added (a.tar)", "2026-11-04 03:00: torch 2.9 -> 2.10"]
    assert (found.last_good, found.newest) == (rows[1], rows[4])


def test_all_that_did_not_pass_is_told_the_worst_first_and_what_passed_is_not():
    gates = [gate_result("unsure", "PS"), gate_result("pass", "Ts-Vs"), gate_result("fail"), gate_result("fail", "PU")]
    assert [sentence.partition(" ")[0] for sentence in story_of([row(1, "failed", gates=gates)]).sentences] == [
        "GS", "PU", "PS"
    ]  # fmt: skip


@pytest.mark.parametrize(("outcome", "light"), [("passed", "passed"), (None, "ungated")])
def test_what_stands_well_says_since_when_and_nothing_else(outcome, light):
    found = story_of([row(1, "failed"), row(2, outcome, changes=["torch"]), row(3, outcome)])
    assert (found.light, found.sentences, found.changed) == (light, [], [])
    assert found.since == "since 2026-11-02 03:00, 2 nights in a row"


def test_a_night_without_a_result_is_its_own_light_and_the_last_result_is_told_with_it():
    found = story_of([row(1), row(2, "failed", changes=["new code"]), gap(3), gap(4, "crashed", "")])
    assert (found.light, found.word) == ("none", "NO RESULT")
    assert found.sentences == [
        "2026-11-04 03:00: crashed",
        "2026-11-03 03:00: never fired: nothing began",
        "The last result is of 2026-11-02 03:00: FAILED",
        "GS min_change -1: GS did what makes it fail",
    ]
    assert found.since == "since 2026-11-03 03:00, 2 nights in a row; the last good night was 2026-11-01 03:00"
    assert found.changed == ["2026-11-02 03:00: new code"]


def test_many_nights_without_a_result_are_counted():
    found = story_of([gap(day) for day in range(1, 9)])
    assert found.sentences[0].startswith("2026-11-08")
    assert found.sentences[-1] == "and 5 nights more without a result"
    assert found.light == "none"


def test_a_night_that_goes_on_changes_nothing_yet():
    running = HistoryRow(at=at(2), state="running", watch="w")
    assert story_of([row(1), running]) == story_of([row(1)])
    assert story_of([running]).sentences == ["it was never measured"]
    assert story_of([]).light == "none"


def test_where_no_night_was_good_that_is_said():
    assert story_of([row(1, "unsure")]).since == "since 2026-11-01 03:00; no night before it was good"


def test_of_several_lights_the_worst_counts():
    assert [*LIGHTS] == ["failed", "none", "unsure", "not_comparable", "ungated", "passed"]
    assert worst_light(["passed", "unsure", "none"]) == "none"
    assert worst_light(["passed", "ungated"]) == "ungated"
    assert worst_light([]) == "none"
