"""Every evaluation over time, from nights and from the records of runs."""

import os
import platform

import pytest

from data_specs.errors import SpecError
from data_specs.history import outcome_of
from data_specs.moments import moment_of
from data_specs.night import Schedule
from flows.nightly.looking_back.history import HistoryFilter, history_of
from flows.nightly.nights import add_schedule
from tasks.lineage.store import Store
from tests.cases.evaluations import evaluated
from tests.cases.nights import at, gate_result, keep, measured, night, record_id, write_record

NOW = moment_of(at(10, 12))


def rows_of(root, model="", on="", now=NOW, **asked):
    return history_of(root, HistoryFilter(model, on, **asked), now).rows


def told(rows):
    return [(row.at[8:10], row.state, row.model, row.set) for row in rows]


def test_each_model_on_each_set_has_its_figures_gates_and_versions(tmp_path):
    parts = [
        measured(model=model, on=on, gates=[gate_result("pass"), gate_result("unsure", "PS")])
        for model in ("current", "candidate")
        for on in ("visu", "red-team")
    ]
    (first, *others) = rows_of(keep(tmp_path, night(at(1), *parts)))
    assert (first.model, first.set, first.state, first.outcome) == ("current", "visu", "measured", "unsure")
    assert (first.figures["GS"], first.intervals["GS"], first.n_pairs) == (60.0, (57.0, 63.0), 1200)
    assert (first.evaluation, first.baseline_evaluation) == ("c" * 64, "d" * 64)
    assert len(others) == 3


def test_changes_are_told_from_the_measurement_before_whatever_lay_between(tmp_path):
    keep(
        tmp_path,
        night(at(1), measured()),
        night(at(2), measured(status="failed", figures={}, error="SpecError: no\nshards", shards=[])),
        night(at(3), measured(libraries={"torch": "2.10.0", "numpy": "2.1.0"}, shards=["1" * 64, "2" * 64, "3" * 64])),
    )
    first, failed, last = rows_of(tmp_path)
    assert (first.changes, first.shards_added) == ([], [])
    assert (failed.state, failed.sentence, failed.changes) == ("failed", "SpecError: no shards", [])
    assert last.changes == ["torch 2.9.0 -> 2.10.0"]
    assert last.shards_added == ["3" * 64]
    # A filter leaves out rows and no change.
    assert rows_of(tmp_path, since=moment_of(at(3))) == [last]


def test_nights_without_a_result_are_told_as_what_they_are(tmp_path):
    add_schedule(tmp_path, "production", Schedule(at=at(1, 0), cron="0 3 * * *"))
    here = {"host": platform.node(), "process": os.getpid()}
    keep(
        tmp_path,
        night(at(1), measured(), due=at(1)),
        night(at(2), status="interrupted", due=at(2)),
        night(at(3), status="running", due=at(3), ended=None),
        night(at(4), status="failed", due=at(4), error="ArtifactError: the disk is full"),
        night(at(6), measured(), due=at(6), status="failed", outcome="failed", exit_code=5),
        night(at(7), status="running", due=at(7), ended=None, **here),
    )
    found = rows_of(tmp_path, now=moment_of(at(8)))
    states = {row.at[8:10]: row.state for row in found if row.model is None}
    # This process began after the seventh night of the test did, so it is not the one that ran it.
    assert states == {"02": "interrupted", "03": "crashed", "04": "failed", "05": "missed", "07": "crashed"}
    assert [row.at[8:10] for row in found if row.state == "measured"] == ["01", "06"]
    assert [row.sentence for row in found if row.state == "failed"] == ["ArtifactError: the disk is full"]


def test_a_model_that_could_not_be_measured_leaves_the_results_of_others(tmp_path):
    broken = measured(model="candidate", status="failed", figures={}, error="the tag is gone")
    parts = [measured(gates=[gate_result()]), broken]
    keep(tmp_path, night(at(1), *parts, status="failed", error="not measured: candidate on visu: the tag is gone"))
    assert told(rows_of(tmp_path)) == [("01", "measured", "current", "visu"), ("01", "failed", "candidate", "visu")]


def test_a_night_by_hand_says_which_one_never_fired(tmp_path):
    add_schedule(tmp_path, "production", Schedule(at=at(1, 0), cron="0 3 * * *"))
    keep(tmp_path, night(at(1), measured(), due=at(1)), night(at(2, 9), measured()))
    assert [row.changes for row in rows_of(tmp_path, now=moment_of(at(2, 12)))] == [
        [],
        ["asked for by hand; the night due at 2026-11-02 03:00 never fired"],
    ]


def test_what_a_night_was_measuring_when_it_died_crashed_with_it(tmp_path):
    parts = [measured(), measured(on="red-team", status="running", figures={})]
    keep(tmp_path, night(at(1), *parts, status="running"), night(at(2), measured()))
    assert told(rows_of(tmp_path)) == [
        ("01", "measured", "current", "visu"),
        ("01", "crashed", "current", "red-team"),
        ("01", "crashed", None, None),
        ("02", "measured", "current", "visu"),
    ]


def test_whole_nights_without_a_result_stand_beside_the_models_that_are_asked_for(tmp_path):
    keep(
        tmp_path,
        night(at(1), measured(), measured(model="candidate")),
        night(at(2), status="interrupted"),
        night(at(3), measured(model="other"), watch="staging"),
        night(at(4), status="interrupted", watch="staging"),
    )
    assert [row.at[8:10] for row in rows_of(tmp_path, "candidate")] == ["01", "02"]
    series = history_of(tmp_path, HistoryFilter(), NOW).series()
    assert {key: [row.at[8:10] for row in rows] for key, rows in series.items()} == {
        ("production", "current", "visu"): ["01", "02"],
        ("production", "candidate", "visu"): ["01", "02"],
        ("staging", "other", "visu"): ["03", "04"],
    }
    assert [row.watch for row in rows_of(tmp_path, watch="staging")] == ["staging", "staging"]


def test_a_whole_name_is_meant_before_a_part_of_one(tmp_path):
    keep(tmp_path, night(at(1), *(measured(model=model) for model in ("vit", "vit-large", "other"))))
    assert [row.model for row in rows_of(tmp_path, "vit")] == ["vit"]
    assert [row.model for row in rows_of(tmp_path, "vit-l")] == ["vit-large"]


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ({"model": "currant"}, "no model with a history here is called 'currant'.* did you mean current"),
        ({"on": "vizu"}, "no set .* called 'vizu'.* did you mean visu"),
        ({"watch": "productoin"}, "no watch .* did you mean production"),
    ],
)
def test_a_name_that_nothing_has_is_refused_with_those_that_there_are(tmp_path, asked, wrong):
    keep(tmp_path, night(at(1), measured()))
    with pytest.raises(SpecError, match=wrong):
        rows_of(tmp_path, **asked)


def test_a_store_without_anything_has_an_empty_history(tmp_path):
    assert rows_of(tmp_path / "none") == []


def test_a_schedule_that_cannot_be_read_is_told_and_hides_nothing(tmp_path):
    keep(tmp_path, night(at(1), measured()))
    add_schedule(tmp_path, "production", Schedule(at=at(1), cron="every night"))
    found = history_of(tmp_path, HistoryFilter(), NOW)
    assert len(found.rows) == 1
    assert "schedule of watch production cannot be read" in found.remarks[0]


def test_runs_that_no_watch_asked_for_are_in_it_and_those_of_a_night_are_not_told_twice(tmp_path):
    keep(tmp_path, night(at(1), measured(run=record_id("of a night", at(1))), measured(on="b", flow_run_id="flow")))
    write_record(tmp_path, "of a night", at(1))
    write_record(tmp_path, "also", at(1), flow_run_id="flow")
    write_record(tmp_path, "small", at(2))
    write_record(tmp_path, "small", at(3), status="interrupted", error="KeyboardInterrupt")
    write_record(tmp_path, "small", at(4), status="running", host=platform.node(), process=2**22 + 1)
    (first, *others) = rows_of(tmp_path, "small")
    assert (first.model, first.set, first.n_pairs) == ("small edited", "test-0.tar", 60)
    assert (first.figures, first.intervals) == ({"GS": 50.0}, {"GS": (45.0, 55.0)})
    assert [(row.state, row.sentence) for row in others] == [("interrupted", "KeyboardInterrupt"), ("crashed", "")]
    assert {row.model for row in rows_of(tmp_path)} == {"current", "small edited"}


def test_runs_that_a_night_began_are_told_by_the_night_which_names_them(tmp_path):
    begun = {"host": "elsewhere", "process": 7}
    done = night(at(1), measured(evaluation="c" * 64), id="done", ended=at(1, 4), **begun)
    killed = night(at(2), id="killed", status="running", ended=None, **begun)
    keep(tmp_path, done, killed)
    write_record(tmp_path, "production.current.visu", at(1, 3, 30), evaluation="c" * 64, **begun)
    write_record(tmp_path, "production.current.visu", at(2, 3, 30), status="running", **begun)
    # Of another process, another time, another watch: none of a night's.
    write_record(tmp_path, "production.a", at(1, 3, 31), host="elsewhere", process=8)
    write_record(tmp_path, "production.b", at(1, 5), **begun)
    write_record(tmp_path, "productions.c", at(1, 3, 31), **begun)
    rows = rows_of(tmp_path)
    assert {row.model for row in rows} == {
        "current", None, "production.a edited", "production.b edited", "productions.c edited"
    }  # fmt: skip
    assert [row.run for row in rows if row.model == "current"] == [record_id("production.current.visu", at(1, 3, 30))]


def test_a_run_that_never_measured_anything_is_told_by_its_name(tmp_path):
    write_record(tmp_path, "small", at(3), status="failed", error="DataError: shard is cut")
    assert [(row.model, row.state, row.sentence) for row in rows_of(tmp_path)] == [
        ("small", "failed", "DataError: shard is cut")
    ]


@pytest.mark.slow
def test_of_runs_the_manifests_say_which_model_and_code_measured(tmp_path):
    made = [evaluated(tmp_path / "store", model).ref for model in (1, 2)]
    root = Store(tmp_path / "store").root
    for day, ref in enumerate(made, 1):
        write_record(root, "small", at(day), evaluation=ref.version)
    first, second = rows_of(root)
    assert second.evaluation == made[1].version
    assert first.changes == second.changes == []  # the same base model, code and libraries


def test_several_gates_come_to_the_worst_of_them():
    assert outcome_of(["pass", "fail", "unsure"]) == "failed"
    assert outcome_of(["pass", "not_comparable", "unsure"]) == "unsure"
    assert outcome_of(["not_comparable", "pass"]) == "not_comparable"
    assert outcome_of(["pass"]) == "passed"
    assert outcome_of([]) is None
