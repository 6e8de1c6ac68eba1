"""`uwm store push`, `pull` and `status`, between stores and a folder."""

import json
import os
from pathlib import Path

import pytest

from tasks.lineage.store import Store
from tests.cases.remotes import chain, files_of
from tests.cases.small_run import uwm

pytestmark = pytest.mark.slow


@pytest.fixture
def first(tmp_path: Path) -> Store:
    store = Store(tmp_path / "first")
    chain(store)
    return store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/remote"


def store_command(what: str, store: Path, url: str, *arguments: str):
    return uwm("store", what, *arguments, "--store", str(store), "--remote", url)


def status_of(store: Path, url: str) -> dict[str, tuple[int, int, int, int]]:
    done = store_command("status", store, url, "--json")
    assert done.returncode == 0, done.stderr
    rows = map(json.loads, done.stdout.splitlines())
    return {row["kind"]: (row["here"], row["there"], row["to_push"], row["to_pull"]) for row in rows}


def test_what_is_pushed_from_one_store_is_pulled_into_another(first: Store, url: str, tmp_path: Path) -> None:
    assert status_of(first.root, url) == dict.fromkeys(("activations.text", "edit", "scores"), (1, 0, 1, 0))
    done = store_command("push", first.root, url)
    assert done.returncode == 0, done.stderr
    assert f"3 artifacts put into {url} (11 bytes), 0 were there already" in done.stdout
    again = store_command("push", first.root, url)
    assert f"0 artifacts put into {url} (0 bytes), 3 were there already" in again.stdout
    second = Store(tmp_path / "second")
    assert status_of(second.root, url) == dict.fromkeys(("activations.text", "edit", "scores"), (0, 1, 0, 1))
    done = store_command("pull", second.root, url)
    assert done.returncode == 0, done.stderr
    assert f"3 artifacts brought from {url}" in done.stdout
    assert second.refs() == first.refs()
    assert [files_of(second, ref) for ref in second.refs()] == [files_of(first, ref) for ref in first.refs()]
    table = store_command("status", second.root, url)
    assert "0 to push, 0 to pull" in table.stdout


def test_one_artifact_is_pulled_by_the_beginning_of_its_version_with_the_manifests_behind_it(
    first: Store, url: str, tmp_path: Path
) -> None:
    edit = next(ref for ref in first.refs() if ref.kind == "edit")
    assert store_command("push", first.root, url, edit.version[:12]).returncode == 0
    second = Store(tmp_path / "second")
    done = store_command("pull", second.root, url, edit.version[:12])
    assert done.returncode == 0, done.stderr
    assert second.refs() == [edit]
    shown = uwm("artifacts", "show", edit.version[:12], "--store", str(second.root))
    assert shown.returncode == 0, shown.stderr
    assert [line.split()[1] for line in shown.stdout.splitlines()[-3:]] == ["edit", "scores", "activations.text"]
    assert store_command("pull", second.root, url, edit.version[:12], "--inputs").returncode == 0
    assert second.refs() == first.refs()


def test_what_is_broken_is_named_and_the_rest_goes(first: Store, url: str, tmp_path: Path) -> None:
    scores = next(ref for ref in first.refs() if ref.kind == "scores")
    (first.path(scores) / "a.txt").write_text("firsT")
    done = store_command("push", first.root, url)
    assert done.returncode == 4
    assert "scores" in done.stderr
    assert "changed since it was made" in done.stderr
    assert status_of(first.root, url)["activations.text"] == (1, 1, 0, 0)
    assert status_of(first.root, url)["edit"] == (1, 0, 1, 0)
    for path in (tmp_path / "remote/.files").rglob("*"):
        if path.is_file():
            os.truncate(path, 2)
    pulled = store_command("pull", tmp_path / "second", url)
    assert pulled.returncode == 4
    assert "does not give it: its file" in pulled.stderr
    assert not Store(tmp_path / "second").refs()


@pytest.mark.parametrize(
    ("remote", "status", "why"),
    [("", 2, "no remote is named"), ("nowhere", 2, "is no URL"), ("/none/such/place", 4, "is not there")],
)
def test_a_remote_that_is_none_ends_with_a_status_and_a_sentence(
    first: Store, remote: str, status: int, why: str
) -> None:
    given = ["--remote", remote] if remote else []
    for what in ("push", "pull", "status"):
        done = uwm("store", what, "--store", str(first.root), *given)
        assert done.returncode == status, done.stderr
        assert why in done.stderr
        assert len(done.stderr.splitlines()) == 1
