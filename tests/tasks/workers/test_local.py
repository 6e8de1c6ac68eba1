"""Worker processes that help a run on one store: equal bytes, whoever dies; what they meet comes home."""

import os
import signal

import pytest
import torch

from data_specs.errors import DataError
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import listening, notice
from tasks.lineage.store import Store
from tasks.scoring.folded.layer import SUMS_FILE
from tasks.workers.local import LocalWorkers
from tests.cases.extracting import Extracting, leaving_to_others
from tests.cases.models import WIDE_CLIP
from tests.cases.processes import alive, children, lock_holders
from tests.cases.small_run import file_digests

pytestmark = pytest.mark.slow

N_SHARDS, N_PAIRS = 6, 40  # of which a shard makes two windows
FEW = {"max_bad_fraction": 0.1}  # of what a set may be made without


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """One sample of the last shard is broken."""
    sizes = [N_PAIRS] * N_SHARDS
    return Extracting(tmp_path_factory.mktemp("case"), sizes, broken=N_SHARDS - 1, model_cfg=WIDE_CLIP)


@pytest.fixture(scope="module")
def workers():
    """One worker beside this process, for several tests: its model stays loaded. Killed for rows and for sums, it is
    started as often as may be."""
    found = LocalWorkers(["cpu"])
    yield found
    found.close()


@pytest.fixture(params=["rows", "folded", "by_tag"])
def statistics(request, case):
    """How statistics are made, as rows or as sums, of all or a tag, that are joined as they come."""
    return getattr(case, request.param)


@pytest.fixture
def alone(statistics, tmp_path):
    statistics(tmp_path / "alone", **FEW)
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


def has_half(store):
    """Whether half of the shards have come to something."""
    parts, joined = (list(store.glob(f"activations.vision.{kind}/*")) for kind in ("part", "joined"))
    return joined or len(parts) >= N_SHARDS // 2


def test_bytes_are_those_of_one_process_and_progress_and_bad_samples_come_home(
    statistics, case, workers, alone, tmp_path, monkeypatch
):
    store, heard = tmp_path / "shared", Heard()
    with listening(heard), leaving_to_others(monkeypatch, lambda: has_half(store)):
        made = statistics(store, workers, **FEW)
    assert file_digests(store) == alone
    assert [item["key"] for item in made.manifest.counts["skipped"]] == ["bad"]
    assert statistics == case.rows or list(made.path.rglob(SUMS_FILE))  # and not rows of a single window
    assert heard.n_done == heard.total == N_SHARDS * N_PAIRS + 1
    assert [text for text in heard.notices if "skipped 1 of" in text]
    assert not [text for text in heard.notices if "died" in text]


@pytest.mark.parametrize("statistics", ["rows", "folded"], indirect=True)
def test_a_worker_that_is_killed_has_its_part_made_again_and_is_started_again(
    statistics, workers, alone, tmp_path, monkeypatch
):
    store, heard, killed = tmp_path / "shared", Heard(), []

    def kill():
        """The worker, once, as it holds a part."""
        victims = [*lock_holders(store) - {os.getpid()}]
        if victims and not killed:
            os.kill(victims[0], signal.SIGKILL)
            killed.append(victims[0])
        return killed and any("died" in text for text in heard.notices)

    with listening(heard), leaving_to_others(monkeypatch, kill):
        statistics(store, workers, **FEW)
    assert file_digests(store) == alone
    assert [text for text in heard.notices if "died" in text] == [
        "a worker on cpu died (SIGKILL); what it was at is made again, and it is started again"
    ]
    assert not alive(killed[0])


class Telling:
    """Work that tells how it is computed."""

    def make(self, loaded, store, context, interrupted):
        notice(f"{torch.get_num_threads()} threads on {context.device}")

    def help(self, store, context):
        self.make(None, store, context, lambda: None)

    def sendable(self):
        return self


def test_workers_compute_with_as_many_threads_as_the_run_since_last_digits_hang_on_it(workers, tmp_path):
    before, heard = torch.get_num_threads(), Heard()
    torch.set_num_threads(before + 2)
    try:
        with listening(heard):
            workers.make(Telling(), None, Store(tmp_path), RunContext(device="cpu"))
    finally:
        torch.set_num_threads(before)
    assert heard.notices == [f"{before + 2} threads on cpu"] * 2


def test_what_a_worker_meets_is_the_error_of_the_run(case, workers, tmp_path, monkeypatch):
    with (
        leaving_to_others(monkeypatch, lambda: any(worker._error for worker in workers._workers)),
        pytest.raises(DataError, match=r"1 of 41 samples are bad .*'bad' in 5.tar") as found,
    ):
        case.rows(tmp_path, workers, shards=case.shards[-1:], max_bad_fraction=0.01)
    assert "in the worker on cpu" in str(found.value.__cause__)


def test_workers_end_with_the_run_even_in_the_middle_of_a_part(case, tmp_path, monkeypatch):
    store, workers = tmp_path / "shared", LocalWorkers(["cpu", "cpu"])

    class Cancelled(Exception):
        pass

    def cancel():
        if lock_holders(store) - {os.getpid()}:
            raise Cancelled

    before = set(children(os.getpid()))
    with leaving_to_others(monkeypatch, cancel), pytest.raises(Cancelled):
        case.rows(store, workers, **FEW)
    started = set(children(os.getpid())) - before
    assert len(started) == 2
    workers.close()
    assert not [pid for pid in started if alive(pid)]
