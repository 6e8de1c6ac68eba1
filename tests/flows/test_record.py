"""Every run leaves a record in its store, whatever its end, and runs of one process keep their own."""

import json
import threading
from pathlib import Path

import pytest

from data_specs.config_file import load_config
from data_specs.errors import DataError
from flows.session import open_session, open_sessions
from tasks.lineage.store import Store
from tests.cases.small_run import write_run


def records(store):
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((store / ".runs").glob("*.json"))]
    return sorted(found, key=lambda record: record["settings"]["name"])


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return load_config(write_run(tmp_path_factory.mktemp("run"), calibration=4, test=4))


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "completed"), (DataError("a shard\nis cut"), "failed"), (KeyboardInterrupt(), "interrupted")],
)
def test_a_record_says_who_asked_for_what_and_how_it_ended(tmp_path, config, error, status):
    def run():
        with open_session(config, tmp_path, "cpu", 0) as session:
            (running,) = records(tmp_path)
            assert (running["status"], running["started"] <= running.get("ended", "9")) == ("running", True)
            session.metrics["original"] = {"GS": 12.5}
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(type(error)):
            run()
    (record,) = records(tmp_path)
    assert record["status"] == status
    assert record.get("error") == {"failed": "DataError: a shard is cut", "interrupted": "KeyboardInterrupt:"}.get(
        status
    )
    assert record["settings"] == config.model_dump(mode="json")
    assert {"id", "command", "user", "host", "started", "ended", "artifacts", "figures"} <= record.keys()
    assert record["figures"] == {"original": {"GS": 12.5}}


def test_a_run_of_several_settings_leaves_one_record(tmp_path, config):
    other = config.model_copy(update={"name": "other"})

    def run():
        with open_sessions([config, other], tmp_path, "cpu", 0) as sessions:
            for number, session in enumerate(sessions):
                session.metrics["original"] = {"GS": float(number)}
            raise DataError("cut")

    with pytest.raises(DataError):
        run()
    (path,) = (tmp_path / ".runs").iterdir()
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["status"] == "failed"
    assert record["settings"] == [config.model_dump(mode="json"), other.model_dump(mode="json")]
    assert record["figures"] == {"original": {"GS": 0.0}, "other.original": {"GS": 1.0}}


def test_two_runs_in_two_threads_keep_their_own_with_the_same_and_with_other_settings(tmp_path, config):
    other = config.model_copy(update={"name": "other", "seed": 1})
    both_open, first_closed = threading.Barrier(3), threading.Event()
    seen = {}

    def run(name, settings, wait):
        with open_session(settings, tmp_path, "cpu", 0) as session:
            seen[name] = session
            session.metrics["original"] = {"GS": float(len(seen))}
            both_open.wait(30)
            if wait:
                # The first to end takes nothing from the others.
                assert first_closed.wait(30)
                assert session.shards(settings.evaluation.shards)[0].samples
                assert session.result().name == settings.name

    cases = {"a": (config, False), "b": (config, True), "c": (other, True)}
    threads = {name: threading.Thread(target=run, args=(name, *case)) for name, case in cases.items()}
    for thread in threads.values():
        thread.start()
    threads["a"].join(60)
    first_closed.set()
    for thread in threads.values():
        thread.join(60)
    assert len({id(session) for session in seen.values()}) == 3
    assert [record["status"] for record in records(tmp_path)] == ["completed"] * 3
    assert [record["settings"]["name"] for record in records(tmp_path)] == ["other", config.name, config.name]


def test_a_store_lists_its_artifacts_and_not_its_records(tmp_path, config):
    with open_session(config, tmp_path, "cpu", 0):
        pass
    assert Path(tmp_path / ".runs").is_dir()
    surveyed = Store(tmp_path).survey()
    assert (surveyed.found, surveyed.copies) == ([], [])


def test_a_record_holds_the_files_that_a_pattern_stood_for(tmp_path, config):
    (shard,) = config.evaluation.shards
    pattern = str(Path(shard).parent / "test-*.tar")
    evaluation = config.evaluation.model_copy(update={"shards": [pattern]})
    with open_session(config.model_copy(update={"evaluation": evaluation}), tmp_path, "cpu", 0) as session:
        session.shards([pattern])
        session.calibration_shards()
    (record,) = records(tmp_path)
    assert record["expanded"] == {pattern: [shard]}
    assert record["settings"]["evaluation"]["shards"] == [pattern]
