"""What a web server does in the middle of a file: it is noticed, tried again where that helps, and never half a shard."""

import base64
import hashlib
import time

import pytest

from data_specs.errors import DataError
from tasks.lineage.progress import listening
from tasks.shards import location
from tasks.shards.location import local_copy, look
from tests.cases.file_server import files_served

BODY = bytes(range(256)) * 16_000
HALF = len(BODY) // 2


class Notices(list):
    def notice(self, text):
        self.append(text)


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited for, in place of waiting."""
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


@pytest.fixture
def server(waits, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with files_served(a=BODY) as served:
        yield served


def ranges(server):
    return [wanted for method, _, wanted in server.asked if method == "GET"]


def md5(body):
    return base64.b64encode(hashlib.md5(body).digest()).decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "etag", "asked"),
    [
        ([], "strong", [None]),
        ([f"cut {HALF}"], "strong", [None, f"bytes={HALF}-"]),
        ([f"cut {HALF}", "cut 1000"], "strong", [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]),
        (["503", f"cut {HALF}", "429"], "strong", [None, None, f"bytes={HALF}-", f"bytes={HALF}-"]),
        ([f"cut {HALF}", "whole"], "strong", [None, f"bytes={HALF}-"]),
        ([f"cut {HALF}", "416"], "strong", [None, f"bytes={HALF}-", None]),
        (["more 5"], "strong", [None, f"bytes={len(BODY)}-"]),
        ([f"cut {HALF}"], 'W/"weak"', [None, None]),
        ([f"cut {HALF}"], None, [None, None]),
        (["500", "500"], "strong", [None, None, None]),
    ],
)
def test_a_file_goes_on_where_it_was_cut_if_the_server_says_that_it_is_the_same(server, tmp_path, faults, etag, asked):
    server.files["a.tar"].faults = faults
    server.files["a.tar"].etag = etag
    assert local_copy(f"{server.url}/a.tar", tmp_path).read_bytes() == BODY
    assert ranges(server) == asked


def test_connections_that_bring_much_each_are_not_counted_against_a_file(server, tmp_path):
    body = bytes(range(256)) * 40_000
    server.files["a.tar"].body = body
    server.files["a.tar"].faults = ["cut 1500000"] * 6
    assert local_copy(f"{server.url}/a.tar", tmp_path).read_bytes() == body
    assert ranges(server) == [None, *(f"bytes={n * 1_500_000}-" for n in range(1, 7))]


def test_a_file_that_changes_while_it_is_fetched_is_fetched_anew(server, tmp_path):
    served, changed = server.files["a.tar"], BODY[::-1]

    class Changing(list):
        def pop(self, place):
            if len(self) == 1:
                served.body = changed
            return super().pop(place)

    served.faults = Changing([f"cut {HALF}", ""])
    assert local_copy(f"{server.url}/a.tar", tmp_path).read_bytes() == changed
    assert ranges(server) == [None, f"bytes={HALF}-"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-MD5": md5(BODY)},
        {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5(BODY)}"},
        {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(BODY).digest()).decode()},
        {"x-amz-request-id": "1", "ETag": f'"{hashlib.md5(BODY).hexdigest()}"'},
    ],
)
def test_bytes_are_compared_with_the_digest_that_the_server_says(server, tmp_path, headers):
    served = server.files["a.tar"]
    served.headers, served.faults = headers, ["other"]
    assert local_copy(f"{server.url}/a.tar", tmp_path).read_bytes() == BODY
    served.faults = ["other"] * 3
    with pytest.raises(
        DataError, match=r"a\.tar cannot be fetched: its bytes came with .*, but its source says .*, 3 tim"
    ):
        local_copy(f"{server.url}/a.tar", tmp_path / "again")
    assert list((tmp_path / "again").iterdir()) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": f'"{"0" * 32}"'},  # of a server that hashes a time or a name
        {"x-amz-request-id": "1", "ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"},
        {"x-amz-request-id": "1", "ETag": f'"{"0" * 32}-7"'},  # of several parts
        {"Content-MD5": "no digest"},
    ],
)
def test_what_looks_like_a_digest_of_the_bytes_and_is_none_is_not_taken_for_one(server, tmp_path, headers):
    server.files["a.tar"].headers = headers
    assert local_copy(f"{server.url}/a.tar", tmp_path).read_bytes() == BODY
    assert ranges(server) == [None]


@pytest.mark.parametrize(("said", "waited"), [("7", 7.0), ("100000", 60.0), ("-3", 1.0), ("tomorrow", 1.0), ("0", 1.0)])
def test_a_server_that_says_how_long_to_wait_is_waited_for_within_bounds(server, tmp_path, waits, said, waited):
    server.files["a.tar"].faults = ["503"]
    server.files["a.tar"].headers = {"Retry-After": said}
    notices = Notices()
    with listening(notices):
        local_copy(f"{server.url}/a.tar", tmp_path)
    assert waits == [waited]
    assert f"trying again in {waited:g} s (2 of 3)" in notices[0]


def test_an_error_names_the_address_without_what_gives_access(server, tmp_path):
    address = server.url.replace("http://", "http://name:pass-word@")
    server.files["a.tar"].faults = ["503", "403"]
    notices = Notices()
    with listening(notices), pytest.raises(DataError) as refused:
        local_copy(f"{address}/a.tar?X-Amz-Signature=s1&X-Amz-Credential=s2&part=3&sig=s4", tmp_path)
    shown = f"{server.url}/a.tar?X-Amz-Signature=…&X-Amz-Credential=…&part=3&sig=…"
    assert str(refused.value).startswith(f"shard {shown} cannot be fetched: the server answered 403: it refuses access")
    assert [text for text in notices if shown not in text] == []
    assert len(server.asked) == 2


def test_a_server_is_asked_for_what_it_says_without_the_bytes(server):
    said = look(f"{server.url}/a.tar")
    assert (said.size_bytes, said.etag) == (len(BODY), f'"{hashlib.sha1(BODY).hexdigest()}"')
    server.files["a.tar"].heads = False
    assert look(f"{server.url}/a.tar") == said
    assert server.asked[1:] == [("HEAD", "a.tar", None), ("GET", "a.tar", "bytes=0-0")]
    with pytest.raises(DataError, match=r"none\.tar cannot be asked for: the server answered 404"):
        look(f"{server.url}/none.tar")


def test_a_server_that_is_down_is_asked_some_times_and_then_named(waits):
    with pytest.raises(DataError, match=r"shard http://127\.0\.0\.1:1/a\.tar cannot be asked for: no connection"):
        look("http://127.0.0.1:1/a.tar")
    assert len(waits) == location.ATTEMPTS - 1
