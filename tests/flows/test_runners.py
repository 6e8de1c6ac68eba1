"""Parts made by real workers of Dask on loopback: the bytes of one process, whoever dies, and errors that come home."""

import os
import signal
import threading
from pathlib import Path

import pytest
from prefect import flow

from data_specs.errors import DataError, SpecError
from data_specs.placement import Placement
from data_specs.run_config import RunConfig
from flows.runners import placed
from tasks.activations.task import statistics_of
from tasks.encoders.loading import load_model
from tasks.extraction.sets import extract_set
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.shards.inspection import inspect_shard
from tasks.shards.plan import plan_reading
from tests.cases.models import write_tiny_model
from tests.cases.processes import PATIENCE_SECONDS, alive, lock_holders, wait_for
from tests.cases.shard_files import pair, write_tar
from tests.cases.small_run import file_digests, prefect_here

pytestmark = pytest.mark.slow

N_SHARDS, N_PAIRS = 6, 40


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A model, and shards of which the last holds a broken sample."""
    folder = tmp_path_factory.mktemp("case")
    model = write_tiny_model(folder)

    def shard(number):
        members = [member for i in range(N_PAIRS) for member in pair(f"s{number}k{i}", seed=100 * number + i)]
        if number == N_SHARDS - 1:
            members += pair("bad", unsafe_png=b"no picture")
        return inspect_shard(f"{number}.tar", None, write_tar(folder / f"{number}.tar", members))

    return model, load_model(model), [shard(number) for number in range(N_SHARDS)]


def extracted(case, store, runner=None, *, shards=None, max_bad_fraction=0.5):
    model, loaded, all_shards = case
    named = {"shards": ["/nowhere.tar"]}
    config = RunConfig.model_validate(
        {
            "name": "runners",
            "model": model.model_dump(),
            "calibration": named,
            "evaluation": named,
            "max_bad_fraction": max_bad_fraction,
        }
    )
    plans = plan_reading(shards or all_shards, "vision", None)
    what = statistics_of("vision", "mlp_output", loaded)
    return extract_set(what, plans, loaded, config, Store(store, hash_once=True), RunContext(runner=runner))


def moved_away(shards):
    """The same shards, of which a worker finds none where it looks."""
    return [type(shard)(**{**vars(shard), "path": Path("/nowhere") / shard.path.name}) for shard in shards]


def kill_one_at_work(store, killed):
    """SIGKILL to the first worker that holds a part, as its lock tells."""

    killed.append(wait_for(lambda: next(iter(lock_holders(store) - {os.getpid()}), None)))
    os.kill(killed[0], signal.SIGKILL)


@pytest.mark.parametrize("engine", ["dask"])
def test_workers_of_an_engine_make_the_bytes_of_one_process_and_what_they_meet_comes_home(
    engine, case, api_url, tmp_path
):
    pytest.importorskip(f"prefect_{engine}")
    alone, killed = extracted(case, tmp_path / "alone"), []

    @flow
    def run():
        with placed(Placement(devices="cpu:2", runner=engine)) as place:
            made = extracted(case, tmp_path / "shared", place.runner)
            with pytest.raises(DataError, match=r"1 of 41 samples are bad .*'bad' in 5.tar"):
                extracted(case, tmp_path / "few", place.runner, shards=case[2][-1:], max_bad_fraction=0.01)
            with pytest.raises(DataError, match=r"is not at /nowhere/0.tar on this machine"):
                extracted(case, tmp_path / "moved", place.runner, shards=moved_away(case[2][:1]))
            killer = threading.Thread(target=kill_one_at_work, args=(tmp_path / "killed", killed))
            killer.start()
            extracted(case, tmp_path / "killed", place.runner)
            killer.join(PATIENCE_SECONDS)
            return made.manifest.counts

    with prefect_here(api_url):
        counts = run()
    assert counts == alone.manifest.counts
    assert [item["key"] for item in counts["skipped"]] == ["bad"]
    expected = file_digests(tmp_path / "alone")
    assert file_digests(tmp_path / "shared") == expected
    assert not alive(killed[0])
    assert file_digests(tmp_path / "killed") == expected


def test_an_engine_that_does_not_answer_is_an_error_of_the_settings():
    with (
        pytest.raises(SpecError, match=r"--runner-address 'tcp://127.0.0.1:9': dask does not answer there"),
        placed(Placement(runner="dask", address="tcp://127.0.0.1:9")),
    ):
        pass


def test_devices_of_workers_elsewhere_are_named_as_a_worker_sees_them():
    for devices in ("cpu:4", "cuda:0,cuda:1", "all"):
        with (
            pytest.raises(SpecError, match="have a device each"),
            placed(Placement(devices=devices, runner="dask", address="tcp://127.0.0.1:9")),
        ):
            pass
    with pytest.raises(ValueError, match="an address is of a runner that has one"):
        Placement(address="tcp://127.0.0.1:9")
