"""Several `uwm run` commands with one config on one store, as a Slurm array starts them: the parts are divided among them."""

import json
import os
import signal
from collections import Counter

import pytest

from tests.cases.forked import forked
from tests.cases.processes import lock_holders, wait_for
from tests.cases.small_run import artifacts, change_run, file_digests, write_run

pytestmark = pytest.mark.slow

N_PROCESSES = 4
# A process that has come this far waits for as many as the file says.
MEET = "touch {here}/met/$PPID; until [ $(ls {here}/met | wc -l) -ge $(cat {here}/wanted) ]; do sleep 0.02; done; cat {shard}"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    plain = write_run(folder, calibration=72, test=24, per_shard=4)
    first, *others = sorted(path.name for path in folder.glob("calibration-*.tar"))
    meeting = "pipe:" + MEET.format(here=folder, shard=folder / first)
    return change_run(plain, "shared", calibration={"shards": [meeting, *others]})


@pytest.fixture(scope="module")
def alone(config, here, tmp_path_factory):
    """The bytes that one process makes."""
    store = tmp_path_factory.mktemp("alone")
    expect(config, 1)
    done = here("run", str(config), "--store", str(store), "--workers", "0")
    assert done.returncode == 0, done.stderr
    return file_digests(store)


def expect(config, n_processes):
    (config.parent / "wanted").write_text(str(n_processes))
    met = config.parent / "met"
    met.mkdir(exist_ok=True)
    for path in met.iterdir():
        path.unlink()


def started(config, folder, api_url):
    expect(config, N_PROCESSES)
    command = ["run", str(config), "--store", str(folder / "store"), "--workers", "0", "--json"]
    return [forked(*command, api_url=api_url, said=folder / f"said-{number}") for number in range(N_PROCESSES)]


def ended(processes):
    """What each told at its good end."""
    results = []
    for process in processes:
        assert process.wait() == 0, process.err
        results.append(json.loads(process.out.splitlines()[-1]))
    return results


def makers(store):
    """How many parts each flow run made."""
    manifests = [json.loads((path / "manifest.json").read_text()) for path in artifacts(store)]
    return Counter(
        item["circumstances"]["flow_run_id"] for item in manifests if item["recipe"]["kind"].endswith(".part")
    )


def test_four_processes_divide_the_parts_among_them_and_all_end_with_the_result(config, alone, api_url, tmp_path):
    store = tmp_path / "store"
    results = ended(started(config, tmp_path, api_url))
    assert len(results) == N_PROCESSES
    assert all(result["artifacts"] == results[0]["artifacts"] for result in results)
    assert all(result["metrics"] == results[0]["metrics"] for result in results)
    assert sum(result["computed"] for result in results) == len(artifacts(store))
    made = makers(store)
    assert sum(made.values()) > N_PROCESSES
    assert len(made) > 1
    assert file_digests(store) == alone
    records = [json.loads(path.read_text()) for path in store.glob(".runs/*.json")]
    assert [record["status"] for record in records] == ["completed"] * N_PROCESSES


def test_one_that_is_killed_in_the_middle_holds_up_none_of_the_others(config, alone, api_url, tmp_path):
    store = tmp_path / "store"
    processes = started(config, tmp_path, api_url)
    # Before that a lock is one of the store's log, and whoever died there would be waited for by those who meet.
    wait_for(lambda: len([*(config.parent / "met").iterdir()]) >= N_PROCESSES)
    victim = wait_for(lambda: next((each for each in processes if each.pid in lock_holders(store)), None))
    os.kill(victim.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    results = ended([each for each in processes if each is not victim])
    assert all(result["artifacts"] == results[0]["artifacts"] for result in results)
    assert file_digests(store) == alone
    statuses = Counter(json.loads(path.read_text())["status"] for path in store.glob(".runs/*.json"))
    assert statuses == {"completed": N_PROCESSES - 1, "running": 1}


def test_one_command_with_a_process_for_each_of_two_devices_makes_the_same(config, alone, here, tmp_path):
    expect(config, 1)
    done = here("run", str(config), "--store", str(tmp_path), "--workers", "0", "--devices", "cpu:2")
    assert done.returncode == 0, done.stderr
    assert file_digests(tmp_path) == alone


def test_devices_and_runners_that_do_not_go_together_are_refused(config, here, tmp_path):
    for options, said in (
        (("--devices", "cpu:0"), "expected 1 to 256 processes"),
        (("--runner-address", "tcp://127.0.0.1:9"), "give --runner dask or ray, too"),
        (("--runner", "dask", "--devices", "cuda:0,cuda:1"), "cuda:0"),
    ):
        done = here("run", str(config), "--store", str(tmp_path), *options)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
