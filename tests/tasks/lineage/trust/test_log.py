"""The append-only log: whole whoever writes and is killed, and no change of it goes unseen."""

import hashlib
import json
import random
import signal

import pytest

from data_specs.errors import ArtifactError
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import file_sha256
from tasks.lineage.dropping.discarding import discard
from tasks.lineage.listeners import Listener
from tasks.lineage.store import Store
from tasks.lineage.trust.log import Log
from tasks.lineage.trust.log_check import read_log
from tests.cases.logs import log_lines, log_writer, put_lines, store_of
from tests.cases.recipes import recipe_of, write_two


def chained(lines):
    """The entries of lines that follow one from the other, by Python's standard library alone."""
    previous, entries = "0" * 64, []
    for number, line in enumerate(lines, start=1):
        entry = json.loads(line)
        said = {name: value for name, value in entry.items() if name != "hash"}
        text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(text.encode()).hexdigest() == entry["hash"]
        assert (entry["previous"], entry["number"]) == (previous, number)
        previous = entry["hash"]
        entries.append(entry)
    return entries


def append_one(root, name="x"):
    writer = log_writer(root, 1, name)
    writer.communicate()
    assert writer.returncode == 0


def test_each_artifact_leaves_a_line_with_its_manifests_digest_and_the_hash_of_the_line_before(tmp_path):
    store = store_of(tmp_path)
    entries = chained(log_lines(tmp_path))
    assert [entry["event"] for entry in entries] == ["made"] * 3
    assert {(entry["kind"], entry["version"]) for entry in entries} == {(r.kind, r.version) for r in store.refs()}
    for entry in entries:
        assert entry["manifest"] == file_sha256(tmp_path / entry["kind"] / entry["version"] / "manifest.json")
    assert Log(tmp_path).head() == entries[-1]["hash"]


def test_what_is_found_leaves_no_line(tmp_path):
    before = log_lines(store_of(tmp_path).root)
    store_of(tmp_path)
    assert log_lines(tmp_path) == before


def test_the_line_is_on_the_disk_before_the_artifact_is_there(tmp_path):
    class Looks(Listener):
        def publishing(self, manifest, folder):
            (entry,) = read_log(tmp_path).entries
            assert entry.version == manifest.version
            assert not [*tmp_path.glob("scores/*")]
            seen.append(entry)

    seen = []
    Store(tmp_path, listeners=[Log(tmp_path), Looks()]).materialise(recipe_of(), write_two, RunContext())
    assert len(seen) == 1


def test_what_is_discarded_leaves_a_line(tmp_path):
    store = store_of(tmp_path, 1)
    (ref,) = store.refs()
    discard(store, ref)
    last = chained(log_lines(tmp_path))[-1]
    assert (last["event"], last["version"]) == ("discarded", ref.version)


def test_the_log_of_an_older_store_begins_with_all_that_is_there(tmp_path):
    for number in range(3):
        Store(tmp_path, listeners=[]).materialise(recipe_of(settings={"tau": number}), write_two, RunContext())
    store = store_of(tmp_path, 4)
    entries = chained(log_lines(tmp_path))
    assert [entry["event"] for entry in entries] == ["found", "found", "found", "made"]
    assert {entry["version"] for entry in entries} == {ref.version for ref in store.refs()}


@pytest.mark.slow
def test_processes_that_write_at_once_leave_one_chain_with_every_line(tmp_path):
    names = ["a", "b", "c"]
    for writer in [log_writer(tmp_path, 30, name) for name in names]:
        writer.communicate()
        assert writer.returncode == 0
    told = [(entry["details"]["writer"], entry["details"]["number"]) for entry in chained(log_lines(tmp_path))]
    assert sorted(told) == sorted((name, str(number)) for name in names for number in range(30))
    assert all([n for name, n in told if name == one] == [str(n) for n in range(30)] for one in names)


@pytest.mark.slow
def test_what_a_process_has_written_is_there_after_it_was_killed(tmp_path):
    draw, written = random.Random(0), []
    for turn in range(4):
        writer = log_writer(tmp_path, 0, str(turn))
        for _ in range(draw.randrange(2, 20)):
            last = writer.stdout.readline().strip()
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        last = [last, *rest.split()][-1]
        written += [(str(turn), str(number)) for number in range(int(last) + 1)]
    append_one(tmp_path)
    told = [(e["details"].get("writer"), e["details"].get("number")) for e in chained(log_lines(tmp_path))]
    # Of a line that was not told as written, either all is there or nothing.
    assert set(written) <= set(told)
    assert len(told) <= len(written) + 1 + 4


def test_a_last_line_that_was_cut_anywhere_is_left_out_by_the_next_and_none_before_it(tmp_path):
    *before, last = log_lines(store_of(tmp_path).root)
    for length in [1, 2, len(last) // 2, len(last) - 2]:
        put_lines(tmp_path, [*before, last[:length]])
        report = read_log(tmp_path)
        assert (len(report.entries), report.faults, len(report.notes)) == (2, [], 1)
        Log(tmp_path).append([])
        entries = chained(log_lines(tmp_path))
        assert log_lines(tmp_path)[:-1] == before
        assert entries[-1]["event"] == "repaired"
        assert last[:length].decode().startswith(entries[-1]["details"]["left_out"])


def test_a_last_line_that_lacks_its_end_alone_is_kept(tmp_path):
    lines = log_lines(store_of(tmp_path).root)
    put_lines(tmp_path, [*lines[:-1], lines[-1][:-1]])
    Log(tmp_path).append([])
    assert log_lines(tmp_path) == lines


def test_a_first_line_that_was_cut_does_not_keep_the_log_from_beginning(tmp_path):
    first, *_ = log_lines(store_of(tmp_path, 1).root)
    put_lines(tmp_path, [first[:50]])
    Log(tmp_path).append([])
    assert [entry["event"] for entry in chained(log_lines(tmp_path))] == ["found", "repaired"]


def test_a_log_whose_last_line_is_damaged_takes_no_more(tmp_path):
    lines = log_lines(store_of(tmp_path).root)
    put_lines(tmp_path, [*lines[:-1], lines[-1].replace(b"made", b"lost")])
    with pytest.raises(ArtifactError, match=r"last line of the log .* is damaged; see `uwm store log --verify`"):
        store_of(tmp_path, 4)
    assert len(Store(tmp_path).refs()) == 3


def test_any_flipped_bit_of_the_log_is_found(tmp_path):
    data = b"".join(log_lines(store_of(tmp_path).root))
    draw = random.Random(1)
    for _ in range(300):
        place, bit = draw.randrange(len(data)), 1 << draw.randrange(8)
        put_lines(tmp_path, [data[:place], bytes([data[place] ^ bit]), data[place + 1 :]])
        report = read_log(tmp_path)
        # The end of the last line alone may have been a killed process's.
        assert report.faults or (place == len(data) - 1 and report.notes), (place, bit)
    assert read_log(tmp_path) is not None


def test_lines_taken_out_swapped_or_written_twice_are_found(tmp_path):
    one, two, three, four = log_lines(store_of(tmp_path, 4).root)
    for changed, said in (
        ([one, four], "entries 2 to 3 of the log are missing"),
        ([two, three, four], "entry 1 of the log is missing"),
        ([one, three, two, four], "stands where"),
        ([one, two, two, three, four], "entry 2 of the log stands where entry 3 should"),
    ):
        put_lines(tmp_path, changed)
        assert said in " ".join(read_log(tmp_path).faults)


def test_a_line_that_was_rewritten_with_its_hash_does_not_fit_the_next(tmp_path):
    lines = log_lines(store_of(tmp_path).root)
    entry = json.loads(lines[1]) | {"user": "somebody else"}
    entry.pop("hash")
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    entry["hash"] = hashlib.sha256(text.encode()).hexdigest()
    forged = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    put_lines(tmp_path, [lines[0], forged, lines[2]])
    assert read_log(tmp_path).faults == [
        "entry 3 of the log does not follow from the one before it: that one was changed"
    ]
