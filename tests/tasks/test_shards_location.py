import pytest

from data_specs.errors import DataError, SpecError
from tasks.shards.inspection import open_shards
from tasks.shards.location import expand_locations, local_copy
from tests.tasks.shard_files import (
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
