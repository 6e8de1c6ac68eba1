"""What is wrong in a remote, or with it, is never visible here, costs a run nothing but its help, and is mended."""

import shutil

import pytest

from tasks.lineage.circumstances import RunContext
from tasks.lineage.dropping.pruning import prune
from tasks.lineage.remotes import faults
from tasks.lineage.remotes.elsewhere import Withdrawn
from tasks.lineage.remotes.remote import Remote
from tasks.lineage.sealed_json import sealed
from tasks.lineage.store import Store
from tests.cases.recipes import recipe_of, write_two
from tests.cases.remotes import chain, damage, files_of, made_and_shared, never, payload, run_in, written


@pytest.fixture
def remote(tmp_path):
    return tmp_path / "remote"


@pytest.fixture
def url(remote):
    return f"file://{remote}"


@pytest.mark.parametrize("how", ["truncated", "changed", "missing"])
def test_a_file_that_is_wrong_there_is_never_visible_and_is_made_anew_and_mended(tmp_path, url, remote, how):
    made = made_and_shared(tmp_path / "first", url)
    damage(remote, how)
    with run_in(tmp_path / "second", url) as (store, sharing, _):
        found = chain(store, never)
        with pytest.raises(Withdrawn, match=r"scores .* does not give it: its file [ab]\.txt (came|is missing)"):
            store.path(found[1].ref)
        assert not store.is_here(found[1].ref)
        assert not store.holds(found[1].ref)
        again = chain(store)
        assert [item.reused for item in again] == [True, False, True]
        sharing.settle([again[1].ref])
    with run_in(tmp_path / "third", url) as (store, _, _):
        found = chain(store, never)
        assert store.check(found[1].ref).files == made[1].manifest.files


@pytest.mark.parametrize("content", [b"", b"{", None])
def test_a_manifest_that_is_cut_or_of_another_artifact_is_passed_over_and_replaced(tmp_path, url, remote, content):
    made = made_and_shared(tmp_path / "first", url)
    path = remote / "scores" / made[1].ref.version / "manifest.json"
    path.write_bytes(
        (remote / "edit" / made[2].ref.version / "manifest.json").read_bytes() if content is None else content
    )
    with run_in(tmp_path / "second", url) as (store, sharing, heard):
        found = chain(store)
        assert [item.reused for item in found] == [True, False, True]
        sharing.settle(item.ref for item in found)
    assert [text for text in heard.texts if "is passed over: its manifest there is cut" in text]
    with run_in(tmp_path / "third", url) as (store, _, _):
        assert store.check(chain(store, never)[1].ref).files == made[1].manifest.files


@pytest.mark.parametrize("name", ["../../outside.txt", "/tmp/outside.txt", "a/../../outside.txt", "manifest.json", ""])
def test_a_manifest_whose_files_would_lie_elsewhere_is_refused(tmp_path, url, remote, name):
    made = made_and_shared(tmp_path / "first", url)
    path = remote / "scores" / made[1].ref.version / "manifest.json"
    manifest = made[1].manifest
    moved = [manifest.files[0].model_copy(update={"path": name}), *manifest.files[1:]]
    path.write_bytes(sealed(manifest.model_copy(update={"files": moved}))[1])
    with run_in(tmp_path / "second", url) as (store, _, heard):
        assert not chain(store)[1].reused
    assert [text for text in heard.texts if "is passed over" in text]
    assert not [*tmp_path.rglob("outside.txt")]


def test_a_pull_that_was_cut_off_goes_on_with_the_files_that_it_has(tmp_path, url, remote):
    made = made_and_shared(tmp_path / "first", url)
    draft = tmp_path / "second" / ".scratch" / f"scores-{made[1].ref.version}.pulled"
    (draft / "sub").mkdir(parents=True)
    (draft / "a.txt").write_text("first")
    (draft / "b.txt").write_text("sec")
    (draft / "sub" / "unlisted").write_text("of something else")
    next(path for path in payload(remote) if path.read_bytes() == b"first").unlink()
    with run_in(tmp_path / "second", url) as (store, _, _):
        found = chain(store, never)
        store.path(found[1].ref)
        assert files_of(store, found[1].ref) == {"a.txt": b"first", "b.txt": b"second"}
    assert not draft.exists()


def test_a_remote_that_goes_in_the_middle_costs_nothing_but_what_it_had_promised(tmp_path, url, remote, monkeypatch):
    monkeypatch.setattr(faults, "FIRST_PAUSE_SECONDS", 0.0)
    made = made_and_shared(tmp_path / "first", url)
    with run_in(tmp_path / "second", url) as (store, sharing, heard):
        found = chain(store, never)
        remote.rename(tmp_path / "away")
        with pytest.raises(Withdrawn, match=r"is gone|does not answer any more"):  # whoever met it first
            store.path(found[-1].ref)
        again = chain(store)
        assert [item.reused for item in again] == [True, True, False]
        sharing.settle(item.ref for item in again)
        assert sharing.told()["remotes"]["pushed"][url]["left"] == 1
    assert [text for text in heard.texts if text.endswith("the run goes on without it")]
    (last,) = [text for text in heard.texts if text.startswith("1 artifacts are here, and not in")]
    assert f"`uwm store push --store {tmp_path}/second --remote {url}`" in last
    assert made[-1].manifest.files == again[-1].manifest.files


def test_a_remote_that_comes_back_before_the_end_is_given_all(tmp_path, url, remote, monkeypatch):
    monkeypatch.setattr(faults, "FIRST_PAUSE_SECONDS", 0.0)
    made_and_shared(tmp_path / "first", url)
    with run_in(tmp_path / "second", url) as (store, sharing, heard):
        remote.rename(tmp_path / "away")
        made = [store.materialise(recipe_of(kind), write_two, RunContext()) for kind in ("model", "report")]
        (tmp_path / "away").rename(remote)
        sharing.settle(item.ref for item in made)
        assert sharing.told()["remotes"]["pushed"][url] == {"artifacts": 2, "bytes": 0, "left": 0}
    assert [Remote(url).manifest(item.ref)[0] for item in made] == [item.manifest for item in made]
    assert not [text for text in heard.texts if "store push" in text]


def test_a_file_that_changed_here_is_not_put_there(tmp_path, url):
    made = chain(Store(tmp_path / "first"))
    (made[0].path / "a.txt").write_text("firsT")
    with run_in(tmp_path / "first", url) as (store, sharing, heard):
        sharing.settle([made[2].ref])
        assert store.is_here(made[2].ref)
    assert [text for text in heard.texts if "changed since it was made" in text]
    assert [Remote(url).manifest(item.ref) for item in made] == [None] * 3


def test_several_are_brought_at_once_and_what_does_not_come_is_left_to_be_made(tmp_path, url, remote):
    made = made_and_shared(tmp_path / "first", url)
    shutil.rmtree(remote / "scores")
    with run_in(tmp_path / "second", url) as (store, _, _):
        store.elsewhere.bring_all([item.ref for item in made])
        assert [store.is_here(item.ref) for item in made] == [True, False, True]
    damage(remote, "truncated")
    with run_in(tmp_path / "third", url) as (store, _, heard):
        store.elsewhere.bring_all([made[0].ref])
        assert not store.holds(made[0].ref)
        assert not chain(store)[0].reused
    assert [text for text in heard.texts if text.endswith("it is made here")]


def test_files_that_were_dropped_here_come_back_from_a_remote_and_others_of_that_version_do_not(tmp_path, url):
    made = made_and_shared(tmp_path / "first", url)
    other = Store(tmp_path / "second")
    chain(other, written("a.txt", b"otherwise"))
    other.uses.close()
    for store in (Store(tmp_path / "first"), other):
        assert prune(store, made[0].ref, "to test") is not None
        assert not store.holds(made[0].ref)
    with run_in(tmp_path / "first", url) as (store, sharing, _):
        found = store.materialise(recipe_of("activations.text"), never, RunContext())
        assert found.reused
        assert not store.is_here(made[0].ref)
        store.path(made[0].ref)
        assert files_of(store, made[0].ref) == {"a.txt": b"first", "b.txt": b"second"}
        assert store.check(made[0].ref) == made[0].manifest
        assert sharing.told()["remotes"]["pulled"]["artifacts"] == 1
    with run_in(tmp_path / "second", url) as (store, _, _):
        assert not store.materialise(recipe_of("activations.text"), written("a.txt", b"otherwise"), RunContext()).reused
