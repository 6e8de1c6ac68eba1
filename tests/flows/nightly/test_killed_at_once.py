"""Four `uwm reevaluate` at once on one store, round after round, some of them killed at random: the store and the history
stay whole. `UWM_KILLED_ROUNDS=10` for as many rounds as one has time for."""

import os
import random
import signal
import time
from collections import Counter

import pytest
import yaml

from flows.nightly.looking_back.ended import state_of
from flows.nightly.nights import read_nights
from tasks.lineage.trust.log_check import read_log
from tests.cases.forked import forked
from tests.cases.processes import wait_for
from tests.cases.small_run import artifacts, write_run, write_shards

pytestmark = pytest.mark.slow

N_PROCESSES = 4
N_ROUNDS = int(os.environ.get("UWM_KILLED_ROUNDS", "2"))
SEED = int(os.environ.get("UWM_KILLED_SEED", "0"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rounds")
    write_run(folder, calibration=8, test=24, per_shard=4)
    watch = {
        "name": "production",
        "models": {"plain": {"model": {"architecture": "model.json", "weights": "model.safetensors"}}},
        "sets": {"main": {"shards": ["test-*.tar", "round*.tar"]}, "all": {"shards": "*-*.tar"}},
    }
    (folder / "watch.yaml").write_text(yaml.safe_dump(watch), encoding="utf-8")
    return folder


def nights(folder):
    return {night.process: night for night in read_nights(folder / "store", "production")}


def round_of(folder, api_url, chance):
    """Start all, kill some of those that have begun, and wait for the others; returns how each process ended."""
    command = ["reevaluate", "watch.yaml", "--store", "store", "--workers", "0", "--json"]
    around = {"api_url": api_url, "cwd": folder}
    processes = [forked(*command, **around, said=folder / f"said-{number}") for number in range(N_PROCESSES)]
    for process in chance.sample(processes, chance.randint(1, N_PROCESSES - 1)):
        wait_for(lambda process=process: process.pid in nights(folder) or process.poll() is not None)
        time.sleep(chance.uniform(0, 1.5))
        process.kill()
    ended = {process.pid: process.wait() for process in processes}
    assert {*ended.values()} <= {0, -signal.SIGKILL}, [process.err for process in processes]
    return ended


def test_everything_verifies_nothing_is_made_twice_and_every_night_is_told(folder, here, api_url):
    chance, ended = random.Random(SEED), {}
    store = folder / "store"
    for number in range(N_ROUNDS):
        write_shards(folder, f"round{number}", 8, 4)
        of_round = round_of(folder, api_url, chance)
        assert not ended.keys() & of_round.keys(), "a number of a process came again; start the test anew"
        ended |= of_round
        known = nights(folder)
        # No night is missing, not even of those that could not say how they ended.
        assert known.keys() == ended.keys()
        for process, status in of_round.items():
            night = known[process]
            state = state_of(night.status, night.started, night.host, night.process)
            # One that is killed may have come to its end just before.
            assert state in (("measured",) if status == 0 else ("crashed", "measured")), night
            if state == "measured":
                pairs = {item.set: item.n_pairs for item in night.measured}
                assert pairs == {"main": 24 + 8 * (number + 1), "all": 32 + 8 * (number + 1)}
    survivors = [night for night in nights(folder).values() if night.status == "completed"]
    # What was made of the same shards is one evaluation, whoever made it.
    evaluations = {(tuple(item.shards), item.evaluation) for night in survivors for item in night.measured}
    assert len(evaluations) == len({shards for shards, _ in evaluations})
    report = read_log(store)
    made = Counter((entry.kind, entry.version) for entry in report.entries if entry.event == "made")
    # A line is written before what it tells of can be seen: one who is killed in between leaves it to be made by another.
    n_killed = sum(status != 0 for status in ended.values())
    assert sum(n - 1 for n in made.values()) <= n_killed
    assert {(path.parent.name, path.name) for path in artifacts(store)} <= made.keys()
    done = here("lineage", "verify", "--all", "--store", str(store))
    assert done.returncode == 0, done.stdout + done.stderr
