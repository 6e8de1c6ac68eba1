"""How many processes decode."""

import os

import pytest

from tasks.lineage.cores import available_cores, usual_workers


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds processes to cores")
def test_cores_are_those_that_the_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_cores() == 1
        assert (usual_workers("cpu"), usual_workers("cuda")) == (1, 1)
    finally:
        os.sched_setaffinity(0, allowed)
    assert available_cores() == len(allowed)


@pytest.mark.parametrize(("cores", "on_cpu", "on_gpu"), [(1, 1, 1), (2, 2, 1), (4, 4, 2), (16, 4, 14), (128, 4, 16)])
def test_a_gpu_is_fed_by_more_processes(monkeypatch, cores, on_cpu, on_gpu):
    monkeypatch.setattr("tasks.lineage.cores.available_cores", lambda: cores)
    assert (usual_workers("cpu"), usual_workers("cuda")) == (on_cpu, on_gpu)
