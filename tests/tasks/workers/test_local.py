"""Worker processes that help a run on one store: equal bytes, whoever dies; what they meet comes home."""

import os
import signal
from contextlib import contextmanager

import pytest

from data_specs.errors import DataError
from data_specs.run_config import RunConfig
from tasks.activations.task import statistics_of
from tasks.encoders.loading import load_model
from tasks.extraction.parts import PartMaker
from tasks.extraction.sets import extract_set
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import listening
from tasks.lineage.store import Store
from tasks.shards.inspection import inspect_shard
from tasks.shards.plan import plan_reading
from tasks.workers.local import LocalWorkers
from tests.cases.models import write_tiny_model
from tests.cases.processes import alive, children, lock_holders, wait_for
from tests.cases.shard_files import pair, write_tar
from tests.cases.small_run import file_digests

pytestmark = pytest.mark.slow

N_SHARDS, N_PAIRS = 12, 24


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def loaded(model):
    return load_model(model)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """One sample of the last shard is broken."""
    folder = tmp_path_factory.mktemp("shards")

    def shard(number):
        members = [member for i in range(N_PAIRS) for member in pair(f"s{number}k{i}", seed=100 * number + i)]
        if number == N_SHARDS - 1:
            members += pair("bad", unsafe_png=b"no picture")
        return inspect_shard(f"{number}.tar", None, write_tar(folder / f"{number}.tar", members))

    return [shard(number) for number in range(N_SHARDS)]


@pytest.fixture
def extract(model, loaded, shards):
    def call(store, runner=None, *, chosen=None, max_bad_fraction=0.1):
        named = {"shards": ["/nowhere.tar"]}
        config = RunConfig.model_validate(
            {
                "name": "workers",
                "model": model.model_dump(),
                "calibration": named,
                "evaluation": named,
                "max_bad_fraction": max_bad_fraction,
            }
        )
        plans = plan_reading(chosen or shards, "vision", None)
        what = statistics_of("vision", "mlp_output", loaded)
        return extract_set(what, plans, loaded, config, Store(store, hash_once=True), RunContext(runner=runner))

    return call


@pytest.fixture(scope="module")
def workers():
    """One worker beside this process, for several tests: its model stays loaded."""
    found = LocalWorkers(["cpu"])
    yield found
    found.close()


@pytest.fixture
def alone(extract, tmp_path):
    extract(tmp_path / "alone")
    return file_digests(tmp_path / "alone")


class Heard:
    """Progress and notices of a run."""

    def __init__(self):
        self.n_done, self.notices = 0, []

    def start(self, stage, total, unit):
        self.total = total

    def advance(self, stage, n):
        self.n_done += n

    def finish(self, stage):
        return

    def notice(self, text):
        self.notices.append(text)


@contextmanager
def leaving_to_others(monkeypatch, condition):
    """This process makes nothing before a condition holds."""
    make = PartMaker.make

    def late(self, *given):
        wait_for(condition)
        return make(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(PartMaker, "make", late)
        yield


def parts(store):
    return list(store.glob("activations.vision.part/*"))


def test_bytes_are_those_of_one_process_and_progress_and_bad_samples_come_home(
    extract, workers, alone, tmp_path, monkeypatch
):
    store, heard = tmp_path / "shared", Heard()
    with listening(heard), leaving_to_others(monkeypatch, lambda: len(parts(store)) == N_SHARDS - 1):
        made = extract(store, workers)
    assert file_digests(store) == alone
    assert [item["key"] for item in made.manifest.counts["skipped"]] == ["bad"]
    assert heard.n_done == heard.total == N_SHARDS * N_PAIRS + 1
    assert [text for text in heard.notices if "skipped 1 of" in text]
    assert not [text for text in heard.notices if "died" in text]


def test_what_a_worker_meets_is_the_error_of_the_run(extract, workers, shards, tmp_path, monkeypatch):
    with (
        leaving_to_others(monkeypatch, lambda: any(worker._error for worker in workers._workers)),
        pytest.raises(DataError, match=r"1 of 25 samples are bad .*'bad' in 11.tar") as found,
    ):
        extract(tmp_path, workers, chosen=shards[-1:], max_bad_fraction=0.01)
    assert "in the worker on cpu" in str(found.value.__cause__)


def test_a_worker_that_is_killed_has_its_part_made_again_and_is_started_again(extract, alone, tmp_path, monkeypatch):
    store, heard, workers = tmp_path / "shared", Heard(), LocalWorkers(["cpu"])
    killed = []

    def kill():
        """The worker, once, as it holds a part."""
        victims = [*lock_holders(store) - {os.getpid()}]
        if victims and not killed:
            os.kill(victims[0], signal.SIGKILL)
            killed.append(victims[0])
        return killed and any("died" in text for text in heard.notices)

    try:
        with listening(heard), leaving_to_others(monkeypatch, kill):
            extract(store, workers)
    finally:
        workers.close()
    assert file_digests(store) == alone
    assert [text for text in heard.notices if "died" in text] == [
        "a worker on cpu died (SIGKILL); what it was at is made again, and it is started again"
    ]
    assert not alive(killed[0])


def test_workers_end_with_the_run_even_in_the_middle_of_a_part(extract, shards, tmp_path, monkeypatch):
    store, workers = tmp_path / "shared", LocalWorkers(["cpu", "cpu"])

    class Cancelled(Exception):
        pass

    def cancel():
        if lock_holders(store) - {os.getpid()}:
            raise Cancelled

    before = set(children(os.getpid()))
    with leaving_to_others(monkeypatch, cancel), pytest.raises(Cancelled):
        extract(store, workers)
    started = set(children(os.getpid())) - before
    assert len(started) == 2
    workers.close()
    assert not [pid for pid in started if alive(pid)]
