"""When the word of a store stands for a shard's bytes, and when it does not."""

import time

import pytest

from data_specs.errors import DataError
from data_specs.fetching import FetchConfig
from tasks.lineage.planned import PlannedStore
from tasks.lineage.progress import listening
from tasks.lineage.store import Store
from tasks.shards import fetch_records
from tasks.shards.fetch_records import FetchRecords
from tasks.shards.inspection import open_shards
from tasks.shards.run_copies import RunCopies
from tests.cases.file_server import ServedFile, files_served
from tests.cases.shard_files import caption_tensor, pair, pairs, read_all, tar_bytes, write_tar

FIRST, SECOND, THIRD = (tar_bytes(pairs(keys)) for keys in (["a", "b"], ["c", "d"], ["e"]))
TRUSTING = {"trust_etag": True}


class Notices(list):
    def notice(self, text):
        self.append(text)


@pytest.fixture
def server():
    with files_served(first=FIRST, second=SECOND) as served:
        yield served


class Run:
    """One run on a store: the shards that it sees, how often each was given, what it said."""

    def __init__(self, root, server, names=("first", "second"), *, read=False, workers=0, store=Store, **config):
        server.asked.clear()
        self.notices = Notices()
        copies = RunCopies(store(root), FetchConfig(**config))
        try:
            with listening(self.notices):
                self.shards = open_shards([f"{server.url}/{name}.tar" for name in names], None, copies)
                self.keys = [sample.key for shard in self.shards for sample in shard.samples]
                if read:
                    batches, _ = read_all(self.shards, "text", caption_tensor, batch_size=2, workers=workers)
                    assert [key for batch in batches for key in batch.keys] == self.keys
        finally:
            copies.close()
        self.trusted = [record.location.rpartition("/")[2] for record in copies.trusted.values()]
        self.given = sorted(path for method, path, _ in server.asked if method == "GET")


def left(root):
    return sorted(path.name for path in root.rglob("*.tar"))


def test_an_unchanged_shard_is_trusted_without_a_download_where_it_is_asked_for(tmp_path, server):
    first = Run(tmp_path, server)
    assert (first.given, first.trusted, left(tmp_path)) == (["first.tar", "second.tar"], [], [])
    again = Run(tmp_path, server, **TRUSTING)
    assert (again.given, again.trusted) == ([], ["first.tar", "second.tar"])
    assert again.notices == ["2 of 2 shards are taken for unchanged by their ETags, and were not fetched"]
    assert [(one.sha256, one.size_bytes, one.samples, one.location) for one in again.shards] == [
        (one.sha256, one.size_bytes, one.samples, one.location) for one in first.shards
    ]
    without = Run(tmp_path, server)
    assert (without.given, without.trusted, without.notices) == (["first.tar", "second.tar"], [], [])


def test_a_trusted_shard_is_fetched_when_it_is_read_after_all(tmp_path, server):
    Run(tmp_path, server)
    read = Run(tmp_path, server, read=True, **TRUSTING)
    assert read.given == ["first.tar", "second.tar"]
    assert (read.trusted, left(tmp_path)) == (["first.tar", "second.tar"], [])


def test_a_changed_shard_is_fetched_though_others_are_trusted(tmp_path, server):
    Run(tmp_path, server)
    server.files["second.tar"] = ServedFile(THIRD)
    run = Run(tmp_path, server, **TRUSTING)
    assert (run.given, run.trusted, run.keys) == (["second.tar"], ["first.tar"], ["a", "b", "e"])


@pytest.mark.parametrize("etag", [None, "", 'W/"weak"', '"not closed', "bare"])
def test_no_etag_and_a_weak_one_are_never_trusted(tmp_path, server, etag):
    server.files["first.tar"].etag = etag
    Run(tmp_path, server)
    assert Run(tmp_path, server, **TRUSTING).given == ["first.tar"]


def test_another_size_under_the_same_etag_is_not_trusted(tmp_path, server):
    server.files["first.tar"].etag = '"fixed"'
    Run(tmp_path, server)
    server.files["first.tar"].body = THIRD
    assert Run(tmp_path, server, **TRUSTING).keys == ["e", "c", "d"]


def test_a_server_that_lies_is_believed_where_it_is_trusted_and_found_out_where_bytes_are_read(tmp_path, server):
    server.files["first.tar"].etag = '"fixed"'
    Run(tmp_path, server, ["first"])
    other = tar_bytes(pairs(["x", "y"]))
    server.files["first.tar"].body = other
    assert len(other) == len(FIRST)
    assert Run(tmp_path, server, ["first"], **TRUSTING).keys == ["a", "b"]
    with pytest.raises(DataError, match=r"first\.tar changed since it was planned: sha256"):
        Run(tmp_path, server, ["first"], read=True, **TRUSTING)
    honest = Run(tmp_path, server, ["first"], read=True)
    assert honest.keys == ["x", "y"]
    assert "has other bytes than before under the same ETag; do not use --trust-etag" in honest.notices[0]
    assert Run(tmp_path, server, ["first"], **TRUSTING).given == ["first.tar"]


def test_what_other_code_found_in_a_shard_is_not_taken_over(tmp_path, server, monkeypatch):
    Run(tmp_path, server)
    monkeypatch.setattr(fetch_records, "_inspection_code", lambda: "f" * 64)
    assert Run(tmp_path, server, **TRUSTING).given == ["first.tar", "second.tar"]
    assert Run(tmp_path, server, **TRUSTING).given == []


@pytest.mark.parametrize("damage", [b"", b"no gzip", b"\x1f\x8b\x08\x00"])
def test_a_record_that_cannot_be_read_is_none(tmp_path, server, damage):
    Run(tmp_path, server)
    for path in (tmp_path / ".fetched" / "records").iterdir():
        path.write_bytes(damage)
    assert Run(tmp_path, server, **TRUSTING).given == ["first.tar", "second.tar"]


def test_copies_within_a_limit_stay_and_are_hashed_again_before_they_are_used(tmp_path, server):
    within = {"limit": 10**6}
    first = Run(tmp_path, server, **within)
    assert left(tmp_path) == sorted(f"{shard.sha256}.tar" for shard in first.shards)
    again = Run(tmp_path, server, read=True, **within, **TRUSTING)
    assert (again.given, again.trusted) == ([], ["first.tar", "second.tar"])
    copy = tmp_path / ".fetched" / f"{first.shards[0].sha256}.tar"
    copy.write_bytes(THIRD)
    healed = Run(tmp_path, server, read=True, **within, **TRUSTING)
    assert (healed.given, healed.keys) == (["first.tar"], first.keys)
    assert "was changed by another program, or by the disk; it is fetched again" in healed.notices[0]
    # Without trust, what lies here says nothing of what lies there.
    assert Run(tmp_path, server, **within).given == ["first.tar", "second.tar"]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_set_larger_than_the_limit_is_read_with_copies_that_come_and_go(tmp_path, server, workers):
    limit = len(FIRST) + 100
    run = Run(tmp_path, server, read=True, workers=workers, limit=limit)
    assert run.keys == ["a", "b", "c", "d"]
    assert len(run.given) > 2
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.tar")) <= limit


def test_a_shard_that_changes_between_the_plan_and_its_reading_is_refused(tmp_path, server):
    copies = RunCopies(Store(tmp_path), FetchConfig(limit=len(FIRST) + 100))
    shards = open_shards([f"{server.url}/{name}.tar" for name in ("first", "second")], None, copies)
    server.files["first.tar"] = ServedFile(THIRD)
    with pytest.raises(
        DataError, match=r"first\.tar changed since it was planned: sha256 \w{12}, expected \w{12}; leave"
    ):
        read_all(shards, "text", caption_tensor)
    copies.close()


def test_runs_that_go_on_at_the_same_time_share_copies_and_the_last_one_removes_them(tmp_path, server):
    early = RunCopies(Store(tmp_path), FetchConfig())
    location = [f"{server.url}/first.tar"]
    [shard] = open_shards(location, None, early)
    late = RunCopies(Store(tmp_path), FetchConfig())
    [same] = open_shards(location, None, late)
    assert (same.path, len(server.asked)) == (shard.path, 1)
    early.close()
    assert same.path.exists()
    after = RunCopies(Store(tmp_path), FetchConfig())
    late.close()
    # What a run fetched that ended before this one began is not current for this one.
    time.sleep(0.01)
    [anew] = open_shards(location, None, after)
    assert (anew.sha256, len(server.asked)) == (same.sha256, 2)
    after.close()
    assert [path for path in (tmp_path / ".scratch").rglob("*") if path.is_file()] == []


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path, server):
    folder = tmp_path / ".scratch" / "fetched-shared"
    (folder / ".users").mkdir(parents=True)
    (folder / ".users" / "1.5-7-abc").touch()
    (folder / "x.tar").write_bytes(b"x")
    copies = RunCopies(Store(tmp_path), FetchConfig())
    open_shards([f"{server.url}/first.tar"], None, copies)
    assert len(left(folder)) == 1
    assert not (folder / "x.tar").exists()
    copies.close()


def test_local_shards_and_those_from_elsewhere_keep_their_order(tmp_path, server):
    own = [str(write_tar(tmp_path / f"{name}.tar", pair(name))) for name in ("p", "q")]
    copies = RunCopies(Store(tmp_path / "store"), FetchConfig())
    far = [f"{server.url}/{name}.tar" for name in ("first", "second")]
    order = [far[1], own[1], far[0], own[0]]
    assert [shard.location for shard in open_shards(order, None, copies)] == order
    copies.close()
    with pytest.raises(DataError, match="are the same bytes"):
        open_shards([far[0], str(write_tar(tmp_path / "r.tar", pairs(["a", "b"])))], None, copies)
    copies.close()


def test_no_store_is_made_for_local_shards_or_by_a_plan(tmp_path, server):
    path = write_tar(tmp_path / "p.tar", pair("p"))
    copies = RunCopies(Store(tmp_path / "store"), FetchConfig(limit=100))
    open_shards([str(path)], None, copies)
    copies.close()
    run = Run(tmp_path / "store", server, store=PlannedStore)
    assert run.given == ["first.tar", "second.tar"]
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_written_is_read_without_it(tmp_path, server, monkeypatch):
    Run(tmp_path / "store", server)
    monkeypatch.setattr(Store, "temporary_folder", lambda self, name: _made(tmp_path / "elsewhere"))
    run = Run(tmp_path / "store", server, limit=10**6, **TRUSTING, read=True)
    assert (run.trusted, sorted(run.given)) == (["first.tar", "second.tar"], ["first.tar", "second.tar"])
    assert not (tmp_path / "elsewhere").exists()


def _made(folder):
    folder.mkdir(exist_ok=True)
    return folder


def test_records_hold_nothing_that_gives_access(tmp_path, server):
    address = server.url.replace("http://", "http://name:password@")
    copies = RunCopies(Store(tmp_path), FetchConfig())
    location = f"{address}/first.tar?token=t0ken"
    [shard] = open_shards([location], None, copies)
    copies.close()
    record = FetchRecords(tmp_path / ".fetched" / "records").read(location)
    assert shard.location == record.location == f"{server.url}/first.tar?token=…"
