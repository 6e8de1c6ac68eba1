"""`uwm sign` and `uwm verify-signature`, on artifacts and on folders."""

import pytest

from data_specs.errors import ArtifactError, SpecError
from tests.cases.keys import make_keys
from tests.cases.logs import store_of
from tests.cases.small_run import uwm


@pytest.fixture
def keys(tmp_path, monkeypatch):
    for variable in ("UWM_SIGNING_KEY", "UWM_TRUSTED_KEYS", "UWM_STORE"):
        monkeypatch.delenv(variable, raising=False)
    return make_keys(tmp_path)


@pytest.fixture
def command(monkeypatch):
    """A command of this process: its exit status or error, and what it prints."""
    from typer.testing import CliRunner

    from flows.commands.group import app

    def run(*words):
        done = CliRunner().invoke(app, list(map(str, words)))
        return done.exception if isinstance(done.exception, Exception) else done.output

    return run


def chain(root):
    from data_specs.manifest import Recipe
    from tasks.lineage.circumstances import RunContext
    from tests.cases.recipes import write_two

    store = store_of(root, 1)
    (scores,) = store.refs()
    recipe = Recipe(kind="edit", inputs={"scores": scores}, code="c0de")
    return store, scores, store.materialise(recipe, write_two, RunContext()).ref


def test_an_artifact_is_signed_and_verified_alone_or_with_all_behind_it(tmp_path, keys, command):
    private, public = keys
    store, scores, edit = chain(tmp_path / "store")
    there = ["--store", store.root, "--key"]
    assert f"signed edit {edit.version[:16]}: {store.root}/.signatures/edit/" in command(
        "sign", edit.version[:12], *there, private
    )
    assert f"edit {edit.version[:16]}: signed by {public}" in command("verify-signature", edit.version, *there, public)
    behind = command("verify-signature", edit.version, "--with-inputs", *there, public)
    assert isinstance(behind, ArtifactError)
    assert f"scores {scores.version[:12]} is not signed" in str(behind)
    assert len(command("sign", edit.version, "--with-inputs", *there, private).splitlines()) == 2
    told = command("verify-signature", edit.version, "--with-inputs", *there, public).splitlines()
    assert [line.split()[0] for line in told] == ["scores", "edit"]


def test_what_was_changed_is_neither_signed_nor_verified(tmp_path, keys, command):
    private, public = keys
    store, _, edit = chain(tmp_path / "store")
    there = ["--store", store.root, "--key"]
    command("sign", edit.version, *there, private)
    (store.path(edit) / "a.txt").write_text("other")
    for words in (("sign", edit.version, *there, private), ("verify-signature", edit.version, *there, public)):
        assert "changed since it was made" in str(command(*words))


def test_a_folder_is_signed_and_verified(tmp_path, keys, command):
    private, public = keys
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"a")
    assert f"signed {folder}" in command("sign", folder, "--key", private)
    assert f"signed by {public}" in command("verify-signature", folder, "--key", public)
    (folder / "a.bin").write_bytes(b"b")
    assert isinstance(command("verify-signature", folder, "--key", public), ArtifactError)


def test_keys_come_from_the_environment_too_and_without_one_it_says_so(tmp_path, keys, command, monkeypatch):
    store, _, edit = chain(tmp_path / "store")
    for words in ("sign", "verify-signature"):
        assert isinstance(command(words, edit.version, "--store", store.root), SpecError)
    monkeypatch.setenv("UWM_SIGNING_KEY", str(keys[0]))
    monkeypatch.setenv("UWM_TRUSTED_KEYS", str(keys[1]))
    assert "signed edit" in command("sign", edit.version, "--store", store.root)
    assert "signed by" in command("verify-signature", edit.version, "--store", store.root)


@pytest.mark.slow
def test_exit_statuses_are_those_of_the_settings_and_the_store(tmp_path, keys):
    store, _, edit = chain(tmp_path / "store")
    there = ["--store", str(store.root), "--key"]
    assert uwm("sign", edit.version, *there, str(keys[1])).returncode == 2
    unsigned = uwm("verify-signature", edit.version, *there, str(keys[1]))
    assert unsigned.returncode == 4
    assert unsigned.stderr.startswith(f"error: edit {edit.version[:12]} is not signed; trusted are key.pub")
