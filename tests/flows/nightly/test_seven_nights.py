"""Seven nights of one watch against a real server, with a clock that goes from night to night."""

import httpx
import pytest
import yaml

from data_specs.night import Schedule
from flows.nightly.nights import add_schedule, read_nights
from tests.cases.command_line import called
from tests.cases.prefect_server import free_port, lasting_server
from tests.cases.receivers import webhook
from tests.cases.small_run import change_run, completed, prefect_here, write_run, write_shards

pytestmark = pytest.mark.slow

WATCH = {
    "name": "production",
    "models": {"current": {"tag": "production"}},
    "sets": {"main": {"shards": "test-*.tar"}},
    "baseline": {"tag": "approved"},
    "gates": {"GS": {"min_change": -1}},
}


class Duty:
    """A folder with data, a store with an approved model, and what is asked there night after night."""

    def __init__(self, folder, hook, monkeypatch):
        self.folder, self.hook, self._monkeypatch = folder, hook, monkeypatch
        self.store = folder / "store"
        self.config = write_run(folder, test=24)

    def tag(self, name, run):
        done = called("tag", name, run.version("model"), "--store", str(self.store))
        assert done.returncode == 0, done.stderr

    def night(self, day, *options, status=0, **changes):
        """That of a day of November at 3:00 UTC: its account, and what was told meanwhile."""
        begun = f"2026-11-{day:02}T03:00:20.000+00:00"  # as a scheduler is late
        self._monkeypatch.setattr("flows.nightly.account.now", lambda: begun)
        path = self.folder / "watch.yaml"
        notify = [{"webhook": self.hook.url, "on": ["failed", "unsure", "not_comparable", "crashed", "missed"]}]
        path.write_text(yaml.safe_dump(WATCH | {"notify": notify} | changes, sort_keys=False), encoding="utf-8")
        before = len(self.hook.got())
        done = called("reevaluate", str(path), "--store", str(self.store), "--workers", "0", *options)
        assert done.returncode == status, done.stderr
        night = read_nights(self.store, "production")[-1]
        assert night.started == begun
        return night, [message["body"] for message in self.hook.got()[before:]]


@pytest.fixture
def duty(tmp_path, monkeypatch, prefect_home):
    with webhook(tmp_path) as hook:
        yield Duty(tmp_path, hook, monkeypatch)


def flow_runs(url):
    runs = httpx.post(f"{url}/flow_runs/filter", json={"sort": "START_TIME_ASC"}, trust_env=False).json()
    return [(run["name"], run["state_name"]) for run in runs]


def test_seven_nights(duty, tmp_path, prefect_home):
    home, port = tmp_path / "home", free_port()
    with lasting_server(home, port) as url, prefect_here(url):
        good = completed(called, "run", duty.config, duty.store)
        # An edit that multiplies by 1 is the model as it was, which is far worse.
        one = {"text": {"alpha": 1}, "vision": {"alpha": 1}}
        bad = completed(called, "run", change_run(duty.config, "bad", **one), duty.store)
        duty.tag("approved", good)
        duty.tag("production", good)
        add_schedule(duty.store, "production", Schedule(at="2026-11-01T00:00:00+00:00", cron="0 3 * * *"))
        what_is_new_is_computed(duty)
        assert ("current @ main", "Completed") in flow_runs(url)
    with lasting_server(home, port) as url, prefect_here(url):
        duty.tag("production", bad)
        what_is_worse_fails_and_is_told(duty)
        # One night failed, and no other run did for it.
        assert flow_runs(url)[-3:] == [
            ("production: reevaluate", "Failed"),
            ("baseline @ main", "Completed"),
            ("current @ main", "Completed"),
        ]
        what_cannot_be_decided_is_told_as_such(duty)
        duty.tag("production", good)
        last, (message,) = duty.night(8)
        assert (last.outcome, last.measured[0].computed) == ("passed", 0)
        assert message["event"] == "missed"
        assert "the night of 2026-11-07 03:00 UTC did not begin" in message["text"]
    shown = called("history", "--store", str(duty.store), "--set", "main", "current")
    assert shown.returncode == 0, shown.stderr
    lines = [line for line in shown.stdout.splitlines() if "never fired" in line]
    assert lines[0].startswith("2026-11-07 03:00  never fired")


def what_is_new_is_computed(duty):
    first, told = duty.night(1)
    assert (first.outcome, told) == ("passed", [])
    unchanged, told = duty.night(2)
    assert ([item.computed for item in unchanged.measured], unchanged.outcome, told) == ([0], "passed", [])
    write_shards(duty.folder, "test-later", 8, 8)
    grown, _ = duty.night(3)
    assert (grown.measured[0].n_pairs, grown.measured[0].computed) == (32, 6)
    assert [place.rpartition("/")[2] for place in grown.measured[0].shards_added] == ["test-later-000000.tar"]


def what_is_worse_fails_and_is_told(duty):
    worse, (message,) = duty.night(4, status=5)
    baseline, current = worse.measured
    (gate,) = current.gates
    assert (worse.outcome, gate.outcome, baseline.model, baseline.gates) == ("failed", "fail", "baseline", [])
    assert gate.high < -1
    assert "GS fell by" in message["text"]


def what_cannot_be_decided_is_told_as_such(duty):
    few, (message,) = duty.night(5, sets={"main": {"shards": "test-*.tar", "limit": 3}})
    (gate,) = few.measured[-1].gates
    assert (few.outcome, gate.outcome) == ("unsure", "unsure")
    assert gate.settles_at > 3
    assert "would settle it" in message["text"]
    change_run(duty.config, "third", text={"tau": 0.8})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.lineage.environment.library_versions", lambda: {"torch": "99.0"})
        other, (message,) = duty.night(6, models={"current": {"config": "third.yaml"}})
    (gate,) = other.measured[-1].gates
    assert (other.outcome, gate.outcome) == ("not_comparable", "not_comparable")
    assert "torch 99.0 (the baseline's with" in gate.reasons[0]
    assert gate.change is not None  # shown, and not judged
