"""Shards in an object store, through a real S3 server, and on whatever else fsspec opens."""

import hashlib
import sys

import boto3
import fsspec
import pytest

from data_specs.errors import DataError, SpecError
from tasks.lineage.progress import listening
from tasks.shards import location
from tasks.shards.inspection import open_shards
from tasks.shards.location import expand_locations, local_copy, look
from tests.cases.s3_server import BUCKET, s3_server
from tests.cases.shard_files import caption_tensor, inspected, pairs, read_all, write_tar

BODIES = {"d/a-0": b"0" * 5000, "d/a-1": b"1" * 5000, "d/b": b"b", "d/e/c": b"c"}
pytestmark = pytest.mark.slow


class Bucket:
    """The bucket of a server, by AWS's own library."""

    def __init__(self, server):
        self.server = server
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=server.address, **keys)

    def put(self, **bodies):
        for name, body in bodies.items():
            self.client.put_object(Bucket=BUCKET, Key=f"{name}.tar", Body=body)


def use(server, patch):
    """Let this process use a server; a client that fsspec keeps knows but one."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    for name, value in server.environment.items():
        patch.setenv(name, value)


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        use(server, patch)
        bucket = Bucket(server)
        bucket.put(**BODIES)
        bucket.client.put_object(Bucket=BUCKET, Key="d/notes.txt", Body=b"x")
        yield bucket
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(location, "PAUSE_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("d/*.tar", ["d/a-0", "d/a-1", "d/b"]),
        ("d/", ["d/a-0", "d/a-1", "d/b"]),
        ("d", ["d/a-0", "d/a-1", "d/b"]),
        ("d/a-?.tar", ["d/a-0", "d/a-1"]),
        ("d/{b,a-[1]}.tar", ["d/b", "d/a-1"]),
        ("*/*/c.tar", ["d/e/c"]),
        ("d/a-{0..1}.tar", ["d/a-0", "d/a-1"]),
    ],
)
def test_patterns_and_folders_stand_for_what_the_store_lists(s3, pattern, found):
    assert expand_locations([f"s3://{BUCKET}/{pattern}"], asks_stores=True) == [
        f"s3://{BUCKET}/{name}.tar" for name in found
    ]
    plain = expand_locations([f"s3://{BUCKET}/d/*.tar"])
    assert plain == [f"s3://{BUCKET}/d/*.tar"]


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        (f"{BUCKET}/none/*.tar", "no file matches"),
        (f"{BUCKET}/d/e/", "no file there ends in .tar"),
        ("no-such-bucket/*.tar", "no file matches"),
    ],
)
def test_a_pattern_that_nothing_matches_is_told(s3, pattern, told):
    if pattern.endswith("e/"):
        s3.client.copy_object(Bucket=BUCKET, Key="d/f/c.txt", CopySource=f"{BUCKET}/d/notes.txt")
        pattern = pattern.replace("/e/", "/f/")
    with pytest.raises(DataError, match=rf"shards s3://.* cannot be listed: {told}"):
        expand_locations([f"s3://{pattern}"], asks_stores=True)


def test_a_name_that_a_pattern_finds_too_is_named_twice(s3):
    with pytest.raises(SpecError, match=r"a-1\.tar' is named twice"):
        expand_locations([f"s3://{BUCKET}/d/a-1.tar", f"s3://{BUCKET}/d/a-*.tar"], asks_stores=True)


def test_shards_of_a_bucket_are_read_as_those_of_the_disk(s3, tmp_path):
    path = write_tar(tmp_path / "x.tar", pairs(["a", "b"]))
    s3.put(**{"whole/x-0": path.read_bytes()})
    shards = open_shards(expand_locations([f"s3://{BUCKET}/whole/"], asks_stores=True), None, tmp_path / "copies")
    batches, _ = read_all(shards, "text", caption_tensor)
    assert [batch.keys for batch in batches] == [["a", "b"]]
    assert shards[0].sha256 == inspected(path).sha256


def test_the_store_says_size_etag_and_digest(s3):
    said = look(f"s3://{BUCKET}/d/a-0.tar")
    md5 = hashlib.md5(BODIES["d/a-0"]).hexdigest()
    assert (said.size_bytes, said.etag, said.md5) == (5000, f'"{md5}"', md5)
    client = s3.client
    upload = client.create_multipart_upload(Bucket=BUCKET, Key="parts.tar")["UploadId"]
    where = {"Bucket": BUCKET, "Key": "parts.tar", "UploadId": upload}
    tag = client.upload_part(**where, PartNumber=1, Body=b"x" * 100)["ETag"]
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    assert look(f"s3://{BUCKET}/parts.tar").md5 is None
    client.put_object(
        Bucket=BUCKET, Key="summed.tar", Body=b"y", ChecksumAlgorithm="SHA256", ServerSideEncryption="aws:kms"
    )
    assert look(f"s3://{BUCKET}/summed.tar").md5 is None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"s3://{BUCKET}/none.tar", "there is no such file"),
        ("s3://no-such-bucket/x.tar", "there is no such file"),
        (f"s3://{BUCKET}", "it names a bucket and no file; write a / behind it"),
        ("memory://none.tar", "there is no such file"),
        ("gs://bucket/x.tar", "gs:// needs packages that are not installed: `uv sync --extra gs`"),
        ("abfs://container/x.tar", "abfs:// needs packages that are not installed"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(s3, tmp_path, monkeypatch, url, told):
    for package in ("gcsfs", "adlfs"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=rf"shard {url} cannot be fetched: {told}"):
        local_copy(url, tmp_path / "copies")
    assert list((tmp_path / "copies").iterdir()) == []


@pytest.fixture
def notices(monkeypatch):
    told = []
    monkeypatch.setattr("tasks.shards.location.notice", told.append)
    return told


def test_wrong_credentials_are_said_once_and_without_them(s3, tmp_path, monkeypatch, notices):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    url = f"s3://{BUCKET}/d/b.tar"
    with s3.server.knowing_nobody():
        with pytest.raises(DataError, match=rf"^shard {url} cannot be fetched: access is refused \(") as refused:
            local_copy(url, tmp_path)
        assert "s3cret" not in str(refused.value)
        with pytest.raises(DataError, match=r"^shards s3://.* cannot be listed: access is refused"):
            expand_locations([f"s3://{BUCKET}/d/*.tar"], asks_stores=True)
        with pytest.raises(DataError, match=rf"^shard {url} cannot be asked for: access is refused"):
            look(url)
    assert notices == []


def test_a_store_that_is_busy_is_tried_again(s3, tmp_path, notices):
    s3.server.rule("busy", f"GET /{BUCKET}/d/a-0", times=3)  # its client asks three times by itself
    assert local_copy(f"s3://{BUCKET}/d/a-0.tar", tmp_path).read_bytes() == BODIES["d/a-0"]
    assert [text.partition("; ")[2] for text in notices] == ["trying again in 0.01 s (2 of 3)"]
    s3.server.behave()


def test_a_server_that_is_gone_is_tried_again_and_then_named(tmp_path, monkeypatch, notices):
    with s3_server(tmp_path / "server") as server:
        use(server, monkeypatch)
        Bucket(server).put(x=b"x")
        server.kill()
        with pytest.raises(DataError, match=rf"shard s3://{BUCKET}/x\.tar cannot be fetched: .*, 3 times"):
            local_copy(f"s3://{BUCKET}/x.tar", tmp_path / "copies")
    assert len(notices) == 2
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_what_this_process_holds_in_memory_is_a_shard_too(tmp_path):
    system = fsspec.filesystem("memory")
    for name in ("a-0", "a-1"):
        system.pipe(f"/set/{name}.tar", write_tar(tmp_path / f"{name}.tar", pairs([name])).read_bytes())
    locations = expand_locations(["memory://set/*.tar"], asks_stores=True)
    shards = open_shards(locations, None, tmp_path / "copies")
    assert [sample.key for shard in shards for sample in shard.samples] == ["a-0", "a-1"]
    assert look(locations[0]).etag is None


class NoNotice:
    def notice(self, text):
        raise AssertionError(text)


def test_a_file_that_is_replaced_by_another_comes_as_the_new_one(s3, tmp_path):
    s3.put(changing=b"first")
    with listening(NoNotice()):
        assert local_copy(f"s3://{BUCKET}/changing.tar", tmp_path).read_bytes() == b"first"
        s3.put(changing=b"second one")
        assert local_copy(f"s3://{BUCKET}/changing.tar", tmp_path).read_bytes() == b"second one"
