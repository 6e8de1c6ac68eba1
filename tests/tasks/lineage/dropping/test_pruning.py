"""An artifact whose files were dropped is there as a manifest, and comes back with the same bytes or with a word."""

import os
import shutil

import pytest

from data_specs.errors import ArtifactError
from tasks.lineage.circumstances import RunContext
from tasks.lineage.dropping.pruning import prune
from tasks.lineage.planned import PlannedStore
from tasks.lineage.store import Store
from tasks.lineage.trust.log_check import check_log
from tests.cases.manifests import forge
from tests.cases.recipes import recipe_of

CONTEXT = RunContext()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def write_deep(build):
    (build.folder / "sub").mkdir(exist_ok=True)
    (build.folder / "a.txt").write_text("first")
    (build.folder / "sub" / "b.txt").write_text("second")


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def pruned(store):
    """The model of an edit, its files before, and the store without them."""
    edit = store.materialise(recipe_of(kind="edit"), write_deep, CONTEXT)
    recipe = recipe_of(kind="model", inputs={"edit": edit.ref})
    made = store.materialise(recipe, write_deep, CONTEXT)
    before = content(made.path)
    record = prune(store, made.ref, "it can be made of edit and base")
    assert record.size_bytes == len("first") + len("second")
    return recipe, made, before


def test_what_is_pruned_is_a_manifest_that_can_be_read_and_followed_but_nothing_that_can_be_used(store, pruned):
    recipe, made, _ = pruned
    assert sorted(content(made.path)) == ["manifest.json", "pruned.json"]
    assert not (made.path / "sub").exists()
    assert store.manifest(made.ref) == made.manifest
    assert not store.holds(made.ref)
    assert made.ref not in store.refs()
    assert store.find(made.ref.version[:12]) == made.ref
    assert [item.pruned for item in store.survey().found] == [False, True]
    assert store.survey().broken == []
    with pytest.raises(
        ArtifactError, match=r"its files were dropped on \d{4}-\d\d-\d\d; the run that made it makes them"
    ):
        store.check(made.ref)
    assert not PlannedStore(store.root).materialise(recipe, write_deep, CONTEXT).reused


def test_the_log_tells_what_was_dropped_and_finds_nothing_wrong_with_it_then_and_when_it_is_back(store, pruned):
    recipe, made, _ = pruned
    for _ in range(2):
        report = check_log(store.root)
        assert (report.faults, report.entries[2].event, report.entries[2].version) == ([], "pruned", made.ref.version)
        store.materialise(recipe, write_deep, CONTEXT)


def test_what_was_dropped_is_made_again_with_the_same_bytes_under_the_same_manifest(store, pruned):
    recipe, made, before = pruned
    user = store.materialise(recipe_of(kind="report", inputs={"model": made.ref}), write_deep, CONTEXT).ref
    again = store.materialise(recipe, write_deep, RunContext(seed=5))
    assert (again.reused, again.manifest) == (False, made.manifest)
    assert content(made.path) == before
    assert store.check(user).inputs["model"][0].manifest == made.manifest.digest
    assert store.materialise(recipe, write_deep, CONTEXT).reused
    assert list((store.root / ".scratch").iterdir()) == []


def test_what_comes_out_otherwise_is_told_with_the_first_file_and_what_differs_and_stays_dropped(store, pruned):
    recipe, made, _ = pruned

    def write(build):
        write_deep(build)
        (build.folder / "sub" / "b.txt").write_text("other bits")

    expected = (
        r"come out otherwise now: file sub/b\.txt has sha256 \w{12}, expected \w{12}; device cpu then, cuda now;"
        rf" remove .*{made.ref.version} to take what comes out now"
    )
    with pytest.raises(ArtifactError, match=expected):
        store.materialise(recipe, write, RunContext(device="cuda:0"))
    assert sorted(content(made.path)) == ["manifest.json", "pruned.json"]
    shutil.rmtree(made.path)
    assert store.materialise(recipe, write, CONTEXT).path == made.path


def test_a_restoration_that_was_cut_off_leaves_it_dropped_and_the_next_one_ends_it(store, pruned, monkeypatch):
    recipe, made, before = pruned
    replace, moved = os.replace, []

    def cut(source, target):
        if moved:
            raise OSError(5, "cut", str(target))
        moved.append(target)
        replace(source, target)

    monkeypatch.setattr("tasks.lineage.publishing.os.replace", cut)
    with pytest.raises(ArtifactError):
        store.materialise(recipe, write_deep, CONTEXT)
    monkeypatch.undo()
    assert len(content(made.path)) == 3
    assert not store.holds(made.ref)
    store.materialise(recipe, write_deep, CONTEXT)
    assert content(made.path) == before


@pytest.mark.parametrize("damage", ["flipped", "of another", "manifest"])
def test_a_note_of_dropping_that_is_not_this_manifests_is_refused(store, pruned, damage):
    recipe, made, _ = pruned
    note = made.path / "pruned.json"
    if damage == "flipped":
        note.write_text(note.read_text().replace("made of", "made if"))
    elif damage == "of another":
        forge(note, lambda it: it.update(manifest="0" * 64))
    else:
        forge(made.path / "manifest.json", lambda it: it["circumstances"].update(host="elsewhere"))
    with pytest.raises(ArtifactError, match=r"pruned\.json in .*(it changed since it was made|is of another manifest)"):
        store.materialise(recipe, write_deep, CONTEXT)
