"""Whole runs on shards that a web server gives: equal bytes, bounded copies, and the server's word where it is trusted."""

import json
from collections import Counter

import pytest

from tests.cases.file_server import ServedFile, files_served
from tests.cases.small_run import change_run, completed, file_digests, write_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), calibration=12, test=8, per_shard=4)


@pytest.fixture(scope="module")
def server(local):
    with files_served() as served:
        served.files = {path.name: ServedFile(path.read_bytes()) for path in local.parent.glob("*.tar")}
        yield served


@pytest.fixture(scope="module")
def config(local, server):
    return change_run(
        local,
        "small",
        calibration={"shards": [f"{server.url}/calibration-{{000000..000002}}.tar"]},
        evaluation={"shards": [f"{server.url}/test-{{000000..000001}}.tar"]},
    )


@pytest.fixture(scope="module")
def store(config, here, tmp_path_factory):
    """What a run makes whose copies come and go, since all of them are larger than its room."""
    store = tmp_path_factory.mktemp("far")
    largest = max(path.stat().st_size for path in config.parent.glob("*.tar"))
    completed(here, "run", config, store, "--fetch-limit", str(largest + 1))
    assert sum(path.stat().st_size for path in store.rglob("*.tar")) <= largest + 1
    return store


def given(server):
    return Counter(path for method, path, _ in server.asked if method == "GET")


def last_record(store):
    return json.loads(max((store / ".runs").glob("*.json")).read_text())


def test_bytes_do_not_depend_on_where_shards_lie(local, store, here, tmp_path):
    completed(here, "run", local, tmp_path)
    assert file_digests(tmp_path) == file_digests(store)


def test_unchanged_shards_are_not_fetched_where_their_server_is_trusted_and_the_record_says_so(
    config, store, server, here
):
    server.asked.clear()
    done = completed(here, "run", config, store, "--trust-etag")
    assert (done.result["computed"], given(server)) == (0, {})
    trusted = last_record(store)["trusted"]
    assert sorted(item["location"].rpartition("/")[2] for item in trusted) == sorted(server.files)
    assert all(item.keys() == {"location", "sha256", "size_bytes", "etag", "fetched"} for item in trusted)


def test_without_that_word_each_shard_is_fetched_once_and_nothing_is_made(config, store, server, here):
    server.asked.clear()
    done = completed(here, "run", config, store)
    assert done.result["computed"] == 0
    assert given(server) == dict.fromkeys(server.files, 1)
    assert "trusted" not in last_record(store)
    assert not list((store / ".scratch").rglob("*.tar"))


def test_a_plan_trusts_too_and_fetches_nothing(config, store, server, here):
    server.asked.clear()
    done = here("plan", str(config), "--store", str(store), "--trust-etag", "--json")
    assert done.returncode == 0, done.stderr
    assert given(server) == {}
    assert json.loads(done.stdout.splitlines()[-1])["totals"]["images"] == 0


def test_what_one_shard_changes_is_made_again_and_nothing_else_is_fetched(config, store, server, here):
    before = server.files["test-000001.tar"]
    server.files["test-000001.tar"] = ServedFile(before.body.replace(b"picture number", b"drawing number"))
    server.asked.clear()
    done = completed(here, "run", config, store, "--trust-etag", "--fetch-limit", "1GB")
    server.files["test-000001.tar"] = before
    assert done.result["computed"] > 0
    assert given(server)["test-000001.tar"] == 1
    # The overlap of calibration and evaluation looks into all of them again; the parts of the others are there.
    assert max(given(server).values()) == 1
    manifest = json.loads((done.place("embeddings.text.original") / "manifest.json").read_text())
    taken = {source["location"].rpartition("/")[2]: source["etag"] for source in manifest["sources"]}
    assert taken == {"test-000000.tar": server.files["test-000000.tar"].said()["ETag"], "test-000001.tar": None}


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["--fetch-limit", "1kB"], 2, " or more, and --fetch-limit is 1.0 kB"),
        (["--fetch-limit", "much"], 2, "--fetch-limit 'much' is no size; expected one such as 200GB"),
        (["--set", "fetching.limit=0"], 2, "fetching.limit: expected more than 0 bytes"),
        (["--set", "fetching.limit=true"], 2, "fetching.limit: expected a size such as 200GB, got True"),
    ],
)
def test_a_limit_that_cannot_be_kept_ends_a_run_before_anything_is_made(config, here, tmp_path, options, status, told):
    done = here("run", str(config), "--store", str(tmp_path), "--workers", "0", *options)
    assert done.returncode == status
    assert told in done.stderr
