"""With trusted keys, what a remote has counts only where one of them has signed it."""

import shutil

import pytest

from data_specs.errors import ArtifactError
from tests.cases.keys import make_keys
from tests.cases.remotes import chain, made_and_shared, never, run_in


@pytest.fixture
def signed(tmp_path, monkeypatch):
    """A remote with three signed artifacts, and the public key."""
    monkeypatch.delenv("UWM_TRUSTED_KEYS", raising=False)
    private, public = make_keys(tmp_path)
    monkeypatch.setenv("UWM_SIGNING_KEY", str(private))
    made = made_and_shared(tmp_path / "first", f"file://{tmp_path}/remote")
    monkeypatch.delenv("UWM_SIGNING_KEY")
    return made, public, f"file://{tmp_path}/remote"


def test_what_a_trusted_key_has_signed_is_found_and_brought_by_a_store_that_has_nothing(tmp_path, signed, monkeypatch):
    made, public, url = signed
    monkeypatch.setenv("UWM_TRUSTED_KEYS", str(public))
    with run_in(tmp_path / "second", url) as (store, _, heard):
        found = chain(store, never)
        assert (store.path(found[-1].ref) / "a.txt").read_text() == "first"
        assert store.check(found[-1].ref) == made[-1].manifest
    assert heard.texts == []


@pytest.mark.parametrize("how", ["another key", "no signature"])
def test_what_none_has_signed_is_refused_before_its_files_come(how, tmp_path, signed, monkeypatch):
    made, public, url = signed
    if how == "another key":
        public = make_keys(tmp_path / "other")[1]
    else:
        shutil.rmtree(tmp_path / "remote" / ".signatures")
    monkeypatch.setenv("UWM_TRUSTED_KEYS", str(public))
    said = "is signed by none" if how == "another key" else "is not signed"
    with run_in(tmp_path / "second", url) as (store, _, _):
        with pytest.raises(ArtifactError, match=rf"activations\.text \w+ {said}"):
            chain(store, never)
        # Nor by a way that asks for the files alone.
        with pytest.raises(ArtifactError, match=said):
            store.path(made[-1].ref)
        assert not any(store.is_here(item.ref) for item in made)
