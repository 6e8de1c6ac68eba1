"""Copies within bounds: which goes first, which stays, and what several processes make of one folder."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from data_specs.errors import DataError, SpecError
from tasks.lineage.digest import text_sha256
from tasks.shards import copy_folder
from tasks.shards.copy_folder import CopyFolder, KeptCopy
from tests.cases.file_server import ServedFile, files_served
from tests.cases.places import ROOT

SIZE = 10_000
BODIES = {name: name.encode() * SIZE for name in "abcde"}
DIGESTS = {name: hashlib.sha256(body).hexdigest() for name, body in BODIES.items()}


@pytest.fixture
def server():
    with files_served(**BODIES) as served:
        yield served


def got(server, name="", method="GET"):
    return [path for how, path, _ in server.asked if how == method and path.startswith(name)]


def path_of(folder, server, name) -> KeptCopy:
    return folder.path(f"{server.url}/{name}.tar", DIGESTS[name])


def kept(folder):
    names = {digest: name for name, digest in DIGESTS.items()}
    return sorted(names[path.stem] for path in folder.folder.glob("*.tar"))


def n_bytes(folder):
    return sum(path.stat().st_size for path in folder.folder.iterdir() if path.is_file())


def test_a_copy_is_fetched_when_it_is_opened_and_then_there(server, tmp_path):
    path = path_of(CopyFolder(tmp_path / "copies"), server, "a")
    assert (path.is_file(), path.exists(), got(server)) == (True, True, ["a.tar"])
    with path.open("rb") as file:
        assert file.read() == BODIES["a"]
    assert (path.read_bytes(), path.stat().st_size) == (BODIES["a"], SIZE)
    assert got(server) == ["a.tar"]
    path.unlink()
    assert path.stat().st_size == SIZE
    assert got(server) == ["a.tar", "a.tar"]


def test_a_path_of_a_copy_is_a_path_and_travels(server, tmp_path):
    path = path_of(CopyFolder(tmp_path, 7 * SIZE), server, "a")
    there = pickle.loads(pickle.dumps(path))
    assert (type(there), there, there.folder, there.location) == (KeptCopy, path, path.folder, path.location)
    assert (path == Path(path), hash(path) == hash(Path(path)), path.parent == tmp_path) == (True, True, True)
    beside = path.with_suffix(".part")
    with pytest.raises(FileNotFoundError):
        beside.open("rb")
    assert pickle.loads(pickle.dumps(beside)) == beside
    assert got(server) == []


def test_what_was_used_longest_ago_goes_first_and_the_bytes_stay_within_the_limit(server, tmp_path):
    folder = CopyFolder(tmp_path, 3 * SIZE + 100)
    for place, name in enumerate("abc"):
        path_of(folder, server, name).read_bytes()
        os.utime(tmp_path / f"{DIGESTS[name]}.tar", (place, place))
    path_of(folder, server, "a").read_bytes()  # now b is oldest
    most = []
    for name in "de":
        path_of(folder, server, name).read_bytes()
        most.append(n_bytes(folder))
    assert kept(folder) == ["a", "d", "e"]
    assert max(most) <= 3 * SIZE + 100
    path_of(folder, server, "b").read_bytes()
    assert got(server, "b") == ["b.tar", "b.tar"]


def test_what_is_read_stays_and_what_nobody_reads_goes_though_it_was_used_later(server, tmp_path):
    folder = CopyFolder(tmp_path, 2 * SIZE)
    with path_of(folder, server, "a").open("rb") as file:
        path_of(folder, server, "b").read_bytes()
        path_of(folder, server, "c").read_bytes()
        assert kept(folder) == ["a", "c"]
        assert file.read() == BODIES["a"]


def test_readers_of_more_than_the_limit_do_not_wait_for_each_other_for_ever(server, tmp_path, monkeypatch):
    monkeypatch.setattr(copy_folder, "_GRACE_SECONDS", 0.05)
    folder = CopyFolder(tmp_path, SIZE)
    with path_of(folder, server, "a").open("rb") as first, path_of(folder, server, "b").open("rb") as second:
        assert (first.read(), second.read()) == (BODIES["a"], BODIES["b"])
        assert n_bytes(folder) <= SIZE


def test_a_shard_larger_than_the_limit_is_named_with_both_sizes(server, tmp_path):
    folder = CopyFolder(tmp_path, SIZE - 1)
    with pytest.raises(SpecError, match=r"shard http://.*/a\.tar has 10\.0 kB or more, and --fetch-limit is 10\.0 kB"):
        path_of(folder, server, "a").read_bytes()
    assert n_bytes(folder) == 0
    with pytest.raises(SpecError, match=r"shard pipe:.* has .* kB or more, and --fetch-limit is 10\.0 kB"):
        folder.path("pipe:head -c 2000000 /dev/zero", "0" * 64).open("rb")
    assert n_bytes(folder) == 0


def test_room_counts_what_another_process_is_fetching_but_not_what_a_dead_one_left(server, tmp_path):
    folder = CopyFolder(tmp_path, 2 * SIZE)
    path_of(folder, server, "a").read_bytes()
    for url in ("other", "dead"):
        (tmp_path / f"{text_sha256(url)}.part").write_bytes(bytes(SIZE // 2))
    with FileLock(tmp_path / ".locks" / text_sha256("other")):
        path_of(folder, server, "b").read_bytes()
    assert kept(folder) == ["b"]
    assert [path.stem for path in tmp_path.glob("*.part")] == [text_sha256("other")]
    path_of(folder, server, "c").read_bytes()
    assert kept(folder) == ["b", "c"]
    assert list(tmp_path.glob("*.part")) == []


def test_another_content_than_was_planned_is_refused_by_both_digests(server, tmp_path):
    folder = CopyFolder(tmp_path)
    server.files["a.tar"] = ServedFile(BODIES["b"])
    with pytest.raises(
        DataError,
        match=rf"a\.tar changed since it was planned: sha256 {DIGESTS['b'][:12]}, expected {DIGESTS['a'][:12]}",
    ):
        path_of(folder, server, "a").open("rb")


SCRIPT = """
import pickle, sys
path = pickle.loads(bytes.fromhex(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for name in sys.argv[2].split():
    print(len(path.folder.path(f"{path.location}/{name}.tar", sys.argv[3 + "abcde".index(name)]).read_bytes()), flush=True)
"""


@pytest.mark.slow
def test_four_processes_fetch_each_shard_once_and_keep_to_the_limit_together(server, tmp_path):
    root = CopyFolder(tmp_path / "copies", 6 * SIZE)
    start = pickle.dumps(root.path(server.url, "0" * 64)).hex()
    command = [sys.executable, "-c", SCRIPT, start, "a b c d e", *DIGESTS.values()]
    begun = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(4)
    ]
    for process in begun:
        assert process.stdout.readline() == "ready\n"
    said = []
    for process in begun:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in begun:
        said.append(process.communicate(timeout=300)[0].split())
        assert process.returncode == 0
    assert said == [[str(SIZE)] * 5] * 4
    assert sorted(got(server)) == [f"{name}.tar" for name in "abcde"]
    tight = CopyFolder(tmp_path / "copies", 2 * SIZE)
    tight.trim()
    assert len(kept(tight)) == 2
    for _ in range(3):
        for name in "abcde":
            assert path_of(tight, server, name).read_bytes() == BODIES[name]
            assert n_bytes(tight) <= 2 * SIZE
