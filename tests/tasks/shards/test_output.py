import hashlib
import multiprocessing
import os
import signal

import pytest

from data_specs.errors import DataError, SpecError
from tasks.shards.packing import LARGEST_MAX_COUNT, pack_rows
from tasks.shards.tables import PairRow


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tar")}


def text_rows(n, prefix=""):
    for number in range(n):
        yield PairRow(f"row {number}", f"{prefix}{number}", None, {"safe": f"text {number}"}, {})


@pytest.mark.parametrize(
    ("out", "text"),
    [
        ("x.tar", "does not hold exactly one number field"),
        ("x-%d-%d.tar", "does not hold exactly one number field"),
        ("x-%s.tar", "does not hold exactly one number field"),
        ("x-%6d.tar", "does not hold exactly one number field"),
        ("x-%0999999999d.tar", "does not hold exactly one number field"),
        ("x-%(key)s-%d.tar", "does not hold exactly one number field"),
        ("x-%%-%d.tar", "does not hold exactly one number field"),
        ("d%d/x-%d.tar", "its folder 'd%d' holds a number field"),
        ("x-%d.tar.gz", r"does not end in \.tar"),
        ("s3://bucket/x-%d.tar", "it is not a local path"),
        ("pipe:cat > x-%d.tar", "it is not a local path"),
        ("x\n-%d.tar", "it holds control characters"),
    ],
)
def test_an_out_pattern_that_is_no_pattern_is_refused(tmp_path, monkeypatch, out, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=f"{text}; expected a pattern such as DIR/name-%06d.tar"):
        pack_rows(text_rows(1), out)
    assert list(tmp_path.rglob("*")) == []


def test_a_percent_sign_and_braces_in_a_folder_are_just_characters(tmp_path):
    packed = pack_rows(text_rows(11), f"{tmp_path}/50% {{0}} %s/x-%02d.tar", max_count=1)
    assert [path.name for path in packed.shards] == [f"x-{number:02d}.tar" for number in range(11)]
    assert packed.shards[0].parent.name == "50% {0} %s"


@pytest.mark.parametrize("max_count", [0, -1, LARGEST_MAX_COUNT + 1])
def test_a_count_out_of_bounds_is_refused(tmp_path, max_count):
    with pytest.raises(SpecError, match=f"--max-count is {max_count}, expected 1 to {LARGEST_MAX_COUNT}"):
        pack_rows(text_rows(1), f"{tmp_path}/x-%d.tar", max_count=max_count)


def test_existing_shards_are_never_written_over_nor_mixed_with(tmp_path):
    pack_rows(text_rows(3), f"{tmp_path}/x-%d.tar", max_count=1)
    before = digests(tmp_path)
    with pytest.raises(SpecError, match=r"--out would mix with 3 existing shards such as .*x-0\.tar; remove them"):
        pack_rows(text_rows(1, "other"), f"{tmp_path}/x-%d.tar")
    assert digests(tmp_path) == before
    pack_rows(text_rows(1), f"{tmp_path}/y-%d.tar")


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match=r"cannot write shards to .*file/below"):
        pack_rows(text_rows(1), f"{tmp_path}/file/below/x-%d.tar")


def test_rows_that_fail_midway_leave_no_shard(tmp_path):
    def rows():
        yield from text_rows(5)
        raise DataError("the sixth row is bad")

    with pytest.raises(DataError, match="the sixth row is bad"):
        pack_rows(rows(), f"{tmp_path}/x-%d.tar", max_count=2)
    assert list(tmp_path.iterdir()) == []


def _pack_and_die(out):
    def rows():
        yield from text_rows(5)
        os.kill(os.getpid(), signal.SIGKILL)

    pack_rows(rows(), out, max_count=2)


def test_a_killed_pack_leaves_no_shard_and_the_next_one_clears_up(tmp_path):
    out = f"{tmp_path}/x-%d.tar"
    process = multiprocessing.get_context("fork").Process(target=_pack_and_die, args=(out,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    pack_rows(text_rows(5), out, max_count=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-0.tar", "x-1.tar", "x-2.tar"]


def _pack_expecting_refusal(out, answers):
    try:
        pack_rows(text_rows(1), out)
    except SpecError as error:
        answers.put(str(error))


def test_two_packs_to_the_same_names_at_once_are_refused(tmp_path):
    out = f"{tmp_path}/x-%d.tar"
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def rows():
        yield from text_rows(1)
        other = context.Process(target=_pack_expecting_refusal, args=(out, answers))
        other.start()
        assert "another process packs shards such as" in answers.get(timeout=600)
        other.join()
        yield from text_rows(1, "b")

    assert pack_rows(rows(), out).n_pairs == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x-0.tar"]
