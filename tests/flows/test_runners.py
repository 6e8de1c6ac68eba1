"""Parts made by real workers of an engine on loopback: the bytes of one process, whoever dies, and errors that come home."""

import json
import os

import pytest
from prefect import flow

from data_specs.errors import DataError, SpecError
from data_specs.placement import Placement
from flows import runners
from flows.runners import placed
from tests.cases.clusters import dask_cluster, ray_cluster
from tests.cases.extracting import Extracting, moved_away
from tests.cases.processes import alive, killing_one_at_work
from tests.cases.small_run import file_digests, prefect_here

N_SHARDS, N_PAIRS = 6, 40
FEW = {"max_bad_fraction": 0.5}  # of what a set may be made without


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """One sample of the last shard is broken."""
    return Extracting(tmp_path_factory.mktemp("case"), [N_PAIRS] * N_SHARDS, broken=N_SHARDS - 1)


@pytest.fixture(scope="module")
def alone(case, tmp_path_factory):
    """The bytes of one process, rows, sums and gradients, and what its record of rows counts."""
    folder = tmp_path_factory.mktemp("alone")
    made = case.rows(folder / "rows", **FEW)
    case.folded(folder / "folded", **FEW)
    case.gradients(folder / "gradients", **FEW)
    return [file_digests(folder / name) for name in ("rows", "folded", "gradients")], made.manifest.counts


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_workers_of_an_engine_make_the_bytes_of_one_process_and_what_they_meet_comes_home(
    engine, case, alone, api_url, tmp_path
):
    pytest.importorskip(f"prefect_{engine}")

    @flow
    def run():
        with placed(Placement(devices="cpu:2", runner=engine)) as place:
            made = case.rows(tmp_path / "rows", place.runner, **FEW)
            case.folded(tmp_path / "folded", place.runner, **FEW)
            case.gradients(tmp_path / "gradients", place.runner, **FEW)
            with pytest.raises(DataError, match=r"1 of 41 samples are bad .*'bad' in 5.tar"):
                case.rows(tmp_path / "few", place.runner, shards=case.shards[-1:], max_bad_fraction=0.01)
            with pytest.raises(DataError, match=r"is not at /nowhere/0.tar on this machine"):
                case.rows(tmp_path / "moved", place.runner, shards=moved_away(case.shards[:1]))
            with killing_one_at_work(tmp_path / "killed") as killed:
                case.rows(tmp_path / "killed", place.runner, **FEW)
            return made.manifest.counts, killed[0]

    with prefect_here(api_url):
        counts, killed = run()
    (rows, folded, gradients), counts_alone = alone
    assert file_digests(tmp_path / "gradients") == gradients
    assert counts == counts_alone
    assert [item["key"] for item in counts["skipped"]] == ["bad"]
    assert file_digests(tmp_path / "rows") == rows
    assert file_digests(tmp_path / "folded") == folded
    assert not alive(killed)
    assert file_digests(tmp_path / "killed") == rows


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "cluster"), [("dask", dask_cluster), ("ray", ray_cluster)])
def test_a_cluster_that_is_there_makes_the_bytes_of_one_process_for_one_run_after_the_other(
    engine, cluster, case, alone, api_url, tmp_path
):
    pytest.importorskip(f"prefect_{engine}")

    @flow
    def run(address, kept):
        with placed(Placement(devices="cpu", runner=engine, address=address)) as place:
            return getattr(case, kept)(tmp_path / kept, place.runner, **FEW).manifest.counts["skipped"]

    (rows, folded, _), counts_alone = alone
    with cluster(tmp_path) as address, prefect_here(api_url):
        for kept, expected in (("rows", rows), ("folded", folded)):
            assert run(address, kept) == counts_alone["skipped"]
            assert file_digests(tmp_path / kept) == expected
    parts = [json.loads(path.read_text()) for path in (tmp_path / "rows").glob("*.part/*/manifest.json")]
    assert len(parts) == N_SHARDS
    assert os.getpid() not in {part["circumstances"]["process"] for part in parts}


@pytest.mark.parametrize("engine", ["dask", "ray"])
@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("tcp://127.0.0.1:9", "Connection refused"),
        ("127.0.0.1:9", "Connection refused"),
        ("ray://127.0.0.1:9", "Connection refused"),
        (f"{'x' * 80}:9", "label"),
    ],
)
def test_an_address_where_nobody_answers_is_an_error_of_the_settings_at_once(engine, address, told, monkeypatch):
    monkeypatch.setattr(runners, "_ANSWER_SECONDS", 600)
    with (
        pytest.raises(SpecError, match=rf"--runner-address '{address}': {engine} does not answer there \(.*{told}"),
        placed(Placement(runner=engine, address=address)),
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
