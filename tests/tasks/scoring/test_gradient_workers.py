"""Gradient scores and slopes by real worker processes: equal bytes, whoever makes the sums of a shard and whoever dies."""

import os
import shutil
import signal

import pytest

from data_specs.manifest import GRADIENT_SUMS
from tasks.extraction.parts import PartMaker
from tasks.lineage.store import Store
from tasks.workers.local import LocalWorkers
from tests.cases.extracting import Extracting, leaving_to_others
from tests.cases.processes import alive, lock_holders
from tests.cases.small_run import file_digests

pytestmark = pytest.mark.slow

FEW = {"max_bad_fraction": 0.5}  # of what a set may be made without
SIZES = [9, 3, 16, 1, 12, 5]  # of batches of 7


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A sample of the last shard was not embedded."""
    return Extracting(tmp_path_factory.mktemp("case"), SIZES, broken=len(SIZES) - 1)


@pytest.fixture(scope="module")
def workers():
    """One worker beside this process."""
    found = LocalWorkers(["cpu"])
    yield found
    found.close()


@pytest.fixture(scope="module")
def embedded(case, tmp_path_factory):
    """A store with the embeddings of all pairs."""
    store = tmp_path_factory.mktemp("embedded")
    case.embedded(store, **FEW)
    return store


@pytest.fixture(scope="module")
def alone(case, embedded, tmp_path_factory):
    """The bytes of one process."""
    store = shutil.copytree(embedded, tmp_path_factory.mktemp("alone"), dirs_exist_ok=True)
    scores, slopes = case.gradients(store, **FEW)
    for made in (scores, slopes):
        assert {layer["n_pairs"] for layer in made.manifest.counts["layers"].values()} == {sum(SIZES)}
    assert {layer["n_batches"] for layer in scores.manifest.counts["layers"].values()} == {7}
    return file_digests(store)


def sums_in(store):
    return [*store.glob(f"{GRADIENT_SUMS}*/*/manifest.json")]


def test_bytes_are_those_of_one_process_and_sums_are_removed_once_scores_are_there(
    case, workers, embedded, alone, tmp_path, monkeypatch
):
    store = shutil.copytree(embedded, tmp_path / "shared")
    with leaving_to_others(monkeypatch, lambda: sums_in(store)):
        case.gradients(store, workers, **FEW)
    assert file_digests(store) == alone
    assert sums_in(store) == []
    assert case.gradients(store, **FEW)[0].reused


def test_a_worker_that_is_killed_has_its_shard_summed_again(case, workers, embedded, alone, tmp_path, monkeypatch):
    store, killed = shutil.copytree(embedded, tmp_path / "shared"), []

    def kill():
        victims = [*lock_holders(store) - {os.getpid()}]
        if victims and not killed:
            os.kill(victims[0], signal.SIGKILL)
            killed.append(victims[0])
        return killed

    with leaving_to_others(monkeypatch, kill):
        case.gradients(store, workers, **FEW)
    assert not alive(killed[0])
    assert file_digests(store) == alone
    assert sums_in(store) == []


def test_a_process_that_comes_late_takes_what_was_made_of_the_sums_and_makes_none_again(
    case, embedded, alone, tmp_path, monkeypatch
):
    store = shutil.copytree(embedded, tmp_path / "shared")
    make, others = PartMaker.make, []

    def overtaken(self, *given):
        """All that this process was about to make is made, used and removed meanwhile."""
        if not others:
            others.append(True)
            case.gradients(Store(store), **FEW)
            others.extend(file_digests(store))
        yield from make(self, *given)

    monkeypatch.setattr(PartMaker, "make", overtaken)
    case.gradients(Store(store), **FEW)
    assert len(others) > 1
    assert file_digests(store) == alone
    assert sums_in(store) == []
