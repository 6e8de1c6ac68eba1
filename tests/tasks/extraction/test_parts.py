"""One shard's rows are an artifact of their own: what changes around it leaves it as it is, and any process can make it."""

import pickle
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from data_specs.errors import ArtifactError, DataError, SpecError
from tasks.activations.capture import StatisticsObserver
from tasks.encoders.reference import ModelFiles
from tasks.extraction.parts import PartMaker
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tests.cases.extracting import LAYERS, Extracting
from tests.cases.places import ROOT


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Extracting(tmp_path_factory.mktemp("case"), [4] * 5)


@pytest.fixture
def shards(case):
    return case.shards


@pytest.fixture
def made(tmp_path, monkeypatch, case):
    """Extract from shards into one store; the parts that were computed, and the set."""
    computed = []
    run_shard = PartMaker.make

    def counting(self, parts, *rest):
        for part, item in zip(parts, run_shard(self, parts, *rest), strict=True):
            if not item.reused:
                computed.append(part.location)
            yield item

    monkeypatch.setattr(PartMaker, "make", counting)

    def extract(shards, limit=None):
        computed.clear()
        item = case.rows(Store(tmp_path / "store"), shards=shards, limit=limit)
        return [*computed], item

    return extract


def test_one_shard_more_computes_one_part_and_another_order_none(made, shards):
    assert made(shards[:4])[0] == ["0.tar", "1.tar", "2.tar", "3.tar"]
    computed, more = made(shards)
    assert computed == ["4.tar"]
    computed, turned = made(shards[::-1])
    assert computed == []
    assert turned.ref != more.ref
    computed, fewer = made(shards[1:3])
    assert computed == []
    names = sorted(path.name for path in fewer.path.rglob("*.parquet"))
    assert [name[:6] for name in names] == ["000000", "000000", "000001", "000001"]


def test_a_limit_that_cuts_a_shard_makes_that_part_anew_and_no_other(made, shards):
    made(shards[:3])
    computed, cut = made(shards[:3], limit=6)
    assert computed == ["1.tar"]
    assert Store(cut.path.parents[1]).manifest(cut.ref).counts["samples_used"] == 6
    assert made(shards[:3], limit=8)[0] == []


def test_a_set_has_the_rows_of_its_parts_without_a_second_copy(made, shards):
    _, whole = made(shards[:2])
    files = sorted(whole.path.rglob("*.parquet"))
    assert len(files) == 4
    assert all(path.stat().st_nlink == 2 for path in files)
    store = Store(whole.path.parents[1])
    manifest = store.check(whole.ref)
    parts = manifest.recipe.inputs["parts"]
    assert [part.kind for part in parts] == ["activations.vision.part"] * 2
    assert "tasks.activations.statistics" in store.manifest(parts[0]).modules
    assert [source.location for source in manifest.sources] == ["0.tar", "1.tar"]


def test_parts_that_are_on_their_way_to_the_disk_when_a_later_one_fails_are_kept(tmp_path, made, shards, monkeypatch):
    publish = Store._publish

    def refused(self, ref, build, *rest):
        if build.sources[0].location == "2.tar":
            raise OSError(5, "broken", str(build.folder))
        return publish(self, ref, build, *rest)

    monkeypatch.setattr(Store, "_publish", refused)
    with pytest.raises(ArtifactError, match="cannot write to the store"):
        made(shards)
    monkeypatch.undo()
    assert len(list((tmp_path / "store" / "activations.vision.part").iterdir())) == 4


def planned(case, store):
    """The first shard's part and its maker, as `extract_set` hands them out."""
    caught = []

    class Caught(Exception):
        pass

    def make(self, parts, *rest):
        caught.append((parts[0], self))
        raise Caught

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PartMaker, "make", make)
        with pytest.raises(Caught):
            case.rows(store, shards=case.shards[:1])
    return caught[0]


SCRIPT = """
import pickle, sys
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
part, maker = pickle.load(sys.stdin.buffer)
print(maker(part, Store(sys.argv[1]), RunContext()).path)
"""


@pytest.mark.slow
def test_a_part_is_a_small_value_that_another_process_makes_to_the_same_bytes(tmp_path, made, case, shards):
    _, here = made(shards[:1])
    part, maker = planned(case, Store(tmp_path / "unused"))
    sent = pickle.dumps((part, maker))
    assert len(sent) < 10_000
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "there")],
        input=sent,
        capture_output=True,
        cwd=ROOT,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    there = Store(tmp_path / "there")
    found = there.check(part.ref)
    assert found.files == Store(here.path.parents[1]).check(part.ref).files


def test_a_process_that_has_another_model_or_shard_says_so(tmp_path, case, shards):
    store = Store(tmp_path)
    part, maker = planned(case, store)
    with pytest.raises(SpecError, match=r"have digest .* on this machine, expected 000000"):
        replace(maker, model=ModelFiles(case.model, "0" * 64))(part, store, RunContext())
    with pytest.raises(DataError, match="is not what was planned"):
        maker(replace(part, path=shards[1].path), store, RunContext())
    with pytest.raises(DataError, match="is not at /nowhere on this machine"):
        maker(replace(part, path=Path("/nowhere")), store, RunContext())


def test_the_observer_of_a_part_is_a_value(case):
    observer = pickle.loads(pickle.dumps(partial(StatisticsObserver, encoder="vision", layers=LAYERS)))
    assert (
        observer(case.loaded.model).schemas().keys()
        == StatisticsObserver(case.loaded.model, "vision", LAYERS).schemas().keys()
    )


def test_within_a_run_an_artifact_is_hashed_once_and_the_next_run_finds_what_changed(made, shards, monkeypatch):
    from tasks.lineage.checking import faults as module

    _, whole = made(shards[:2])
    checked = []
    describe = module.describe_files
    monkeypatch.setattr(
        module, "describe_files", lambda folder, names: checked.append(folder) or describe(folder, names)
    )
    store = Store(whole.path.parents[1], hash_once=True)
    for _ in range(3):
        store.ensure(whole.ref)
    assert checked == [whole.path]
    victim = next(whole.path.rglob("*.parquet"))
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match="changed since it was made"):
        Store(store.root, hash_once=True).ensure(whole.ref)
