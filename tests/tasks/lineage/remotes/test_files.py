"""What all kinds of remote must do alike, on a folder and on a real S3 server."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from data_specs.errors import SpecError
from tasks.lineage.remotes.faults import Refused, Unreachable
from tasks.lineage.remotes.files import open_files
from tests.cases.s3_server import BUCKET, without_pauses


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def url(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return f"file://{tmp_path}/remote"
    server = request.getfixturevalue("s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{request.node.name}"


@pytest.mark.slow
def test_what_is_put_there_is_read_listed_and_copied(url, tmp_path):
    files = open_files(url)
    files.require()
    assert files.read("kind/a/x") is None
    assert files.size("kind/a/x") is None
    assert files.folders() == []
    assert [*files.keys("kind")] == []
    (tmp_path / "here").write_bytes(b"content")
    files.send(tmp_path / "here", "kind/a/x")
    files.write("other/b", b"second")
    assert files.read("kind/a/x") == b"content"
    assert files.size("kind/a/x") == 7
    assert sorted(files.folders()) == ["kind", "other"]
    assert [*files.keys("kind")] == ["kind/a/x"]
    assert files.fetch("kind/a/x", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"content"
    assert not files.fetch("kind/a/none", tmp_path / "none")


def test_of_many_who_create_one_file_at_once_the_first_wins_and_only_one_thinks_so(url):
    files = open_files(url)
    contents = [f"writer {number}".encode() for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = [*pool.map(lambda content: files.create("kind/one", content), contents)]
    assert sum(won) == 1
    assert files.read("kind/one") == contents[won.index(True)]
    assert not files.create("kind/one", b"late")
    assert files.read("kind/one") == contents[won.index(True)]


def test_a_file_that_is_put_again_takes_the_place_of_the_first(url):
    files = open_files(url)
    files.write("kind/one", b"first")
    files.write("kind/one", b"then")
    assert files.read("kind/one") == b"then"
    assert [*files.keys("kind")] == ["kind/one"]


def test_a_place_that_is_no_folder_or_lies_in_none_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="is no folder"):
        open_files(f"file://{tmp_path}/file").require()
    with pytest.raises(Refused, match="is not there; make it, or check its name"):
        open_files(f"file://{tmp_path}/none/remote").require()


def test_a_folder_that_goes_while_it_is_used_does_not_answer_and_is_not_made_again(tmp_path):
    (tmp_path / "remote").mkdir()
    files = open_files(f"file://{tmp_path}/remote")
    files.require()
    files.write("kind/one", b"first")
    (tmp_path / "remote").rename(tmp_path / "away")
    for call in (lambda: files.read("kind/one"), lambda: files.size("x"), lambda: files.write("kind/two", b"")):
        with pytest.raises(Unreachable, match="is gone"):
            call()
    assert not (tmp_path / "remote").exists()


def test_a_url_that_no_library_knows_is_refused():
    with pytest.raises(SpecError, match=r"remote what://team: .*use s3://"):
        open_files("what://team")


def test_a_bucket_that_is_not_there_keys_that_nobody_knows_and_a_dead_server_are_told_apart(s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    without_pauses(monkeypatch)
    with pytest.raises(Refused, match="no such bucket"):
        open_files("s3://nobody/uwm").require()
    files = open_files(f"s3://{BUCKET}/uwm")
    files.require()
    with s3.knowing_nobody():
        for call in (files.require, lambda: files.write("kind/one", b""), lambda: files.read("kind/one")):
            with pytest.raises(Refused, match=r"refuses access .*; check the credentials"):
                call()
    s3.rule("drop", ".")
    with pytest.raises(Unreachable, match="does not answer as it should"):
        files.read("kind/one")
    s3.behave()
    assert files.read("kind/one") is None


def test_a_server_that_is_busy_for_a_moment_is_asked_again(s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    without_pauses(monkeypatch)
    files = open_files(f"s3://{BUCKET}/busy")
    s3.rule("busy", "PUT .*/busy/", times=2)
    files.write("kind/one", b"first")
    assert files.read("kind/one") == b"first"
    s3.behave()
    assert sum(asked.startswith("PUT") and "/busy/" in asked for asked in s3.asked()) == 3


def test_without_credentials_it_is_said_where_to_give_them(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(Refused, match=r"no credentials for it .*AWS_PROFILE"):
        open_files("s3://team/uwm").read("kind/one")
