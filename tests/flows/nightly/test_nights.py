"""What nights leave in a store is read as it was written."""

import json

from data_specs.night import Night, Schedule
from flows.nightly.nights import add_schedule, read_nights, read_schedules, watches, write_night
from tests.cases.command_line import called


def night(number, **more):
    started = f"2026-11-{number:02}T03:00:00+00:00"
    return Night(id=f"n{number}", watch="production", settings={}, started=started, status="running", **more)


def test_nights_are_read_in_their_order_and_a_broken_file_hides_none(tmp_path):
    for number in (2, 1):
        write_night(tmp_path, night(number))
    write_night(tmp_path, night(1, host="here"))
    (tmp_path / ".watches/production/broken.json").write_text("{")
    assert read_nights(tmp_path, "production") == [night(1, host="here"), night(2)]
    assert read_nights(tmp_path, "other") == []
    assert watches(tmp_path) == ["production"]


def test_a_schedule_is_noted_where_it_changes(tmp_path):
    first = Schedule(at="2026-11-01T00:00:00+00:00", cron="0 3 * * *", timezone="Europe/Berlin")
    again = first.model_copy(update={"at": "2026-11-02T00:00:00+00:00"})
    other = again.model_copy(update={"cron": None})
    for schedule in (first, again, other):
        add_schedule(tmp_path, "production", schedule)
    (tmp_path / ".watches/production/schedule.jsonl").open("a").write("{half a li")
    assert read_schedules(tmp_path, "production") == [first, other]


def test_of_a_watch_that_is_given_up_no_night_is_due(tmp_path):
    add_schedule(tmp_path / "store", "production", Schedule(at="2026-11-01T00:00:00+00:00", cron="0 3 * * *"))
    watch = {"name": "production", "models": {"current": {"tag": "x"}}, "sets": {"main": {"shards": "*.tar"}}}
    (tmp_path / "watch.yaml").write_text(json.dumps(watch))
    done = called("serve", str(tmp_path / "watch.yaml"), "--cron", "off", "--store", str(tmp_path / "store"))
    assert done.returncode == 0, done.stderr
    assert [schedule.cron for schedule in read_schedules(tmp_path / "store", "production")] == ["0 3 * * *", None]
