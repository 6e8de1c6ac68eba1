import time
from pathlib import Path

import pytest

from data_specs.errors import ArtifactError, DataError
from tasks.lineage.progress import Notices, listening
from tasks.shards import command, fetching, location
from tasks.shards.location import local_copy
from tests.cases.processes import alive, wait_for
from tests.cases.shard_files import pairs, write_tar
from tests.cases.web_server import serving


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fetching, "PATIENCE_SECONDS", 1000)
    monkeypatch.setattr(fetching, "CONNECT_SECONDS", 1000)
    monkeypatch.setattr(location, "PAUSE_SECONDS", 0.01)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(tmp_path):
    with serving(write_tar(tmp_path / "x.tar", pairs(["a", "b"])).read_bytes()) as served:
        yield served


def fetched(url, folder):
    notices = Notices()
    start = time.monotonic()
    try:
        with listening(notices):
            return local_copy(url, folder), notices.texts
    except DataError as error:
        said = str(error)
    assert time.monotonic() - start < 300
    assert len(said.splitlines()) == 1
    assert list(folder.iterdir()) == []
    return said, notices.texts


@pytest.mark.parametrize(("path", "n_notices"), [("whole", 0), ("moved", 0), ("twice/500", 2), ("twice/429", 2)])
def test_a_file_comes_whole_and_retries_are_told(server, tmp_path, path, n_notices):
    copy, notices = fetched(f"{server.url}/{path}", tmp_path / "copies")
    assert copy.read_bytes() == server.body
    assert [f"({n} of 3)" in text for n, text in enumerate(notices, 2)] == [True] * n_notices


@pytest.mark.parametrize(
    ("path", "text", "n_asked"),
    [
        ("status/401", "the server answered 401: it asks for a name", 1),
        ("status/403", "the server answered 403: it refuses access", 1),
        ("status/404", "the server answered 404: there is no such file", 1),
        ("status/416", "the server answered 416: ", 1),
        ("status/204", "the server answered 204: expected 200", 1),
        ("status/429", "the server answered 429: it was asked too often; try later, 3 times", 3),
        ("status/503", "the server answered 503: the server's own fault; try later, 3 times", 3),
        ("again", "redirects more than 10 times", 11),
        ("elsewhere", "redirects to what is no address of the web", 1),
        ("page", "it gives a web page, not a tar file", 1),
        pytest.param("silent", "nothing came for 1 s, 2 times", 2, marks=pytest.mark.slow),
        pytest.param("drip", "bytes came in 1 s, 2 times", 2, marks=pytest.mark.slow),
        pytest.param("drip_headers", "nothing came for 1 s, 2 times", 2, marks=pytest.mark.slow),
        ("cut", "closed before all had come", 3),
        ("cut_chunk", "closed before all had come", 3),
    ],
)
def test_what_a_server_does_is_said_in_a_sentence_within_bounds(server, tmp_path, monkeypatch, path, text, n_asked):
    if "1 s" in text:
        monkeypatch.setattr(fetching, "PATIENCE_SECONDS", 1)
    said, notices = fetched(f"{server.url}/{path}", tmp_path / "copies")
    assert f"shard {server.url}/{path} cannot be fetched: " in said
    assert text in said
    assert len(server.asked) == n_asked
    assert len(notices) == (0 if path == "again" else n_asked - 1)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://name:secret@127.0.0.1:1/x.tar", "shard http://127.0.0.1:1/x.tar cannot be fetched: no connection"),
        ("http://no-such-host.invalid/x.tar", "host 'no-such-host.invalid' is not found"),
        ("http://[::1/x.tar", "is no address"),
        ("nowhere://x/y.tar", "nowhere:// is not known"),
        ("file:///no/such.tar", "there is no such file"),
    ],
)
def test_an_address_that_leads_nowhere_is_said_in_a_sentence(tmp_path, url, text):
    assert text in fetched(url, tmp_path / "copies")[0]


def test_a_server_without_a_certificate_is_said_in_a_sentence(server, tmp_path):
    assert "no secure connection" in fetched(server.url.replace("http:", "https:"), tmp_path / "copies")[0]


def test_a_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    assert fetched("http://example.invalid/whole", tmp_path / "copies")[0].read_bytes() == server.body
    assert server.asked == ["http://example.invalid/whole"]


@pytest.mark.parametrize(
    ("run", "text"),
    [
        ("echo one >&2; echo two >&2; exit 7", "its command ended with exit status 7: two"),
        ("exit 7", "its command ended with exit status 7 and said nothing"),
        ("kill -9 $$", "its command was ended by SIGKILL"),
        ("read answer </dev/tty && cat x", "its command ended with exit status"),
        pytest.param("sleep 1000", "nothing came for 1 s", marks=pytest.mark.slow),
        pytest.param("while true; do echo; sleep 0.05; done", "bytes came in 1 s", marks=pytest.mark.slow),
        pytest.param("exec >&-; sleep 1000", "nothing came for 1 s", marks=pytest.mark.slow),
        ("\0", "its command cannot be started"),
    ],
)
def test_a_command_that_fails_or_is_silent_is_named_by_its_end(tmp_path, monkeypatch, run, text):
    monkeypatch.setattr(command, "SILENCE_SECONDS", 1 if "1 s" in text else 1000)
    assert text in fetched(f"pipe:{run}", tmp_path / "copies")[0]


def test_a_command_s_helpers_end_with_it(tmp_path):
    fetched(f"pipe:sleep 1000 >&- 2>&- & echo $! > {tmp_path}/pid; exit 7", tmp_path / "copies")
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not alive(pid))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_the_disk_s_fault_and_not_the_server_s(server, tmp_path):
    draft = tmp_path / "copies" / f"{location.text_sha256(server.url + '/whole')}.part"
    draft.parent.mkdir()
    draft.symlink_to("/dev/full")
    with pytest.raises(ArtifactError, match=r"cannot be kept in .*: No space left on device; make space"):
        local_copy(f"{server.url}/whole", tmp_path / "copies")
