from itertools import islice

import braceexpand
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs import shard_patterns
from data_specs.errors import DataError, SpecError
from data_specs.shard_patterns import expand_braces
from tasks.shards.inspection import open_shards
from tasks.shards.location import expand_locations, local_copy
from tests.cases.shard_files import (
    caption_tensor,
    inspected,
    pair,
    pairs,
    read_all,
    write_tar,
)


def test_braces_expand_in_order_and_commands_are_left_alone():
    assert expand_locations(["a-{08..11}.tar", "{x,y}.tar"]) == [
        "a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar", "x.tar", "y.tar"
    ]  # fmt: skip
    assert expand_locations(["pipe:cat {a,b}.tar"]) == ["pipe:cat {a,b}.tar"]


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        (["a.tar", "{a,b}.tar"], r"shard 'a\.tar' is named twice"),
        (["a-{0..9.tar"], r"'a-\{0\.\.9\.tar' has braces that do"),
    ],
)
def test_patterns_that_make_no_sense_are_refused(patterns, text):
    with pytest.raises(SpecError, match=text):
        expand_locations(patterns)


def test_a_great_many_locations_expand_at_once():
    assert len(expand_locations(["a-{000000..049999}.tar"])) == 50_000


@pytest.mark.parametrize("command", ["cat", "/bin/cat", " cat"])
def test_a_command_gives_a_shard(tmp_path, command):
    path = write_tar(tmp_path / "x y.tar", pairs(["a", "b"]))
    shards = open_shards([f"pipe:{command} '{path}'"], None, tmp_path / "copies")
    batches, _ = read_all(shards, "text", caption_tensor)
    assert [batch.keys for batch in batches] == [["a", "b"]]
    assert shards[0].sha256 == inspected(path).sha256


@pytest.mark.parametrize("command", ["false", "head -c 5000 {path}; exit 3"])
def test_a_command_that_fails_leaves_no_copy(tmp_path, command):
    path = write_tar(tmp_path / "x.tar", pair("a"))
    with pytest.raises(DataError, match=r"shard pipe:.* cannot be fetched: "):
        local_copy(f"pipe:{command.format(path=path)}", tmp_path / "copies")
    assert list((tmp_path / "copies").iterdir()) == []


def test_a_url_is_fetched_and_a_colon_in_a_file_name_is_no_url(tmp_path):
    path = write_tar(tmp_path / "x:y.tar", pair("a"))
    assert local_copy(str(path), tmp_path) == path
    copy = local_copy(f"file://{path}", tmp_path / "copies")
    assert copy.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "pattern",
    [
        "a-{0..999999999}.tar",
        "a-{000000000..999999999}.tar",
        "{999999999..-5}",
        "{0..99999999..7}",
        "{0..9}" * 7,
        "{a..z}" * 5,
        "{{0..999999},{0..999999}}",
        "{x,{y,{0..9999999}}}",
        "{{0..9999999}}",
        "{,}" * 25,
        "x" * 1000 + "{0..900000}",
    ],
)
def test_too_many_names_are_counted_and_not_made(pattern):
    with pytest.raises(SpecError, match=r"stands for .* names; expected at most 1,000,000"):
        expand_locations([pattern])


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        (["a{0..699999}", "b{0..699999}"], "stand for more than 1,000,000 names"),
        (["{" * 5000 + "a,b" + "}" * 5000], "nests braces more than 16 deep"),
        (["{a," * 5000 + "b" + "}" * 5000], "nests braces more than 16 deep"),
        (["{0..1" + "0" * 5000 + "}"], "holds a number of more than 18 digits"),
        (["{a..z.." + "1" * 5000 + "}"], "holds a number of more than 18 digits"),
    ],
)
def test_patterns_that_would_never_end_are_refused(patterns, text):
    with pytest.raises(SpecError, match=text) as refused:
        expand_locations(patterns)
    assert len(str(refused.value)) < 300


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from(["{", "}", ",", "a", "..", "0", "7", "-3", "B", "\\", "{1..4}", "{d..Q..5}", "{09..-2..3}"]),
        max_size=12,
    ).map("".join)
)
def test_names_are_counted_as_they_are_made(pattern):
    try:
        made = list(islice(braceexpand.braceexpand(pattern), 10_001))
    except ValueError:
        with pytest.raises(SpecError, match="do not close"):
            expand_braces([pattern])
        return
    n, longest = shard_patterns._size(pattern)
    if len(made) > 10_000:  # such as {0..77777777}
        assert n > 10_000
        return
    assert n == len(made)
    assert longest >= max(map(len, made), default=0)
    assert list(expand_braces([pattern])) == made


@pytest.mark.parametrize("name", ["a-*.tar", "a-?.tar", "a-[0-9].tar"])
def test_a_pattern_stands_for_the_files_there_are_and_a_file_of_its_name_comes_first(tmp_path, name):
    pattern = str(tmp_path / name)
    with pytest.raises(DataError, match=r"does not exist; no file of .* matches"):
        local_copy(*expand_locations([pattern]), tmp_path)
    for other in ("a-2.tar", "a-1.tar", ".a-3.tar", "b-1.tar"):
        (tmp_path / other).write_bytes(b"")
    (tmp_path / "a-0.tar").mkdir()
    assert expand_locations([pattern, f"{tmp_path}/b-{{1..2}}.tar"]) == [
        f"{tmp_path}/{each}" for each in ("a-1.tar", "a-2.tar", "b-1.tar", "b-2.tar")
    ]
    with pytest.raises(SpecError, match=r"a-2\.tar' is named twice"):
        expand_locations([f"{tmp_path}/a-2.tar", pattern])
    path = write_tar(tmp_path / name, pair("a"))
    assert expand_locations([pattern]) == [pattern]
    assert local_copy(str(path), tmp_path) == path


def test_patterns_go_through_folders_with_braces_first_and_leave_what_lies_elsewhere_alone(tmp_path):
    for folder in ("x-1", "x-2", "[x]"):
        (tmp_path / folder).mkdir()
        for name in ("a.tar", "b.tar"):
            (tmp_path / folder / name).write_bytes(b"")
    names = [path.removeprefix(f"{tmp_path}/") for path in expand_locations([f"{tmp_path}/x-?/{{b,a}}*.tar"])]
    assert names == ["x-1/b.tar", "x-2/b.tar", "x-1/a.tar", "x-2/a.tar"]
    # A folder that is called like a pattern is none.
    assert expand_locations([f"{tmp_path}/[x]/*.tar"]) == [f"{tmp_path}/[x]/a.tar", f"{tmp_path}/[x]/b.tar"]
    assert expand_locations(["s3://bucket/*.tar", "pipe:cat *.tar"]) == ["s3://bucket/*.tar", "pipe:cat *.tar"]


@pytest.mark.parametrize(
    ("there", "missing", "told"),
    [
        ([f"c-{n:06d}.tar" for n in range(7)], "c-000007.tar", "; shards 000000 to 000006 exist;"),
        (["c-0.tar", "c-10.tar", "c-9.tar"], "c-1.tar", "; 3 shards from 0 to 10 exist;"),
        (["c-0.tar", "d-1.tar"], "c-1.tar", "; shard 0 exists;"),
        (["calibration.tar", "test.tar"], "calibratoin.tar", "; did you mean calibration.tar;"),
        ([], "nowhere/c-1.tar", "/nowhere;"),
        ([], "c-1.tar", "does not exist; expected"),
    ],
)
def test_a_shard_that_is_missing_is_told_with_those_there_are(tmp_path, there, missing, told):
    for name in there:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError) as refused:
        local_copy(str(tmp_path / missing), tmp_path)
    assert told in str(refused.value)


@pytest.mark.parametrize(("name", "text"), [("x" * 300, "File name too long"), ("a\0b", "is no name"), (".", "folder")])
def test_a_name_that_no_file_has_is_refused(tmp_path, name, text):
    with pytest.raises(DataError, match=text):
        local_copy(f"{tmp_path}/{name}", tmp_path)
