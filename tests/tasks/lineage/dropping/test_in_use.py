"""What a living process uses is not dropped; what a dead one has noted holds nothing."""

import os
import pickle
import signal

import pytest

from tasks.lineage.circumstances import RunContext
from tasks.lineage.dropping.in_use import InUse, used_now
from tasks.lineage.dropping.pruning import prune
from tasks.lineage.planned import PlannedStore
from tasks.lineage.store import Store
from tests.cases.recipes import recipe_of, write_two
from tests.cases.store_users import using


@pytest.fixture
def made(tmp_path):
    store = Store(tmp_path / "store")
    found = store.materialise(recipe_of(kind="model"), write_two, RunContext())
    store.uses.close()
    return found


def root_of(made):
    return made.path.parents[1]


def test_what_another_process_uses_is_left_as_it_is_until_it_ends(made):
    root = root_of(made)
    before = {path: path.read_bytes() for path in made.path.iterdir()}
    with using(root, made.ref):
        assert used_now(root) == {made.ref}
        assert prune(Store(root), made.ref, "test") is None
        assert {path: path.read_bytes() for path in made.path.iterdir()} == before
    assert used_now(root) == set()
    assert prune(Store(root), made.ref, "test") is not None
    assert sorted(path.name for path in made.path.iterdir()) == ["manifest.json", "pruned.json"]


def test_a_process_that_was_killed_holds_nothing_and_its_note_is_removed(made):
    root = root_of(made)
    with using(root, made.ref) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert len([*(root / ".uses").iterdir()]) == 1
        assert used_now(root) == set()
        assert [*(root / ".uses").iterdir()] == []


def test_a_store_notes_what_it_looks_up_and_makes_and_not_what_it_only_plans(made):
    root = root_of(made)
    other = recipe_of(kind="edit")
    store = Store(root)
    store.materialise(recipe_of(kind="model"), write_two, RunContext())
    ref = store.materialise(other, write_two, RunContext()).ref
    assert used_now(root) == {made.ref, ref}
    assert used_now(root, besides=store.uses) == set()
    store.uses.close()
    planned = PlannedStore(root)
    planned.materialise(recipe_of(kind="model"), write_two, RunContext())
    planned.check(made.ref)
    assert used_now(root) == set()


def test_an_artifact_is_noted_before_it_is_looked_for_so_that_a_note_never_comes_too_late(made, monkeypatch):
    seen = []
    store = Store(root_of(made))
    monkeypatch.setattr(Store, "holds", lambda self, ref: seen.append(used_now(self.root)) or False)
    store.begin_unless_taken(recipe_of(kind="scores"), write_two, RunContext())()
    assert seen
    assert all(len(noted) == 1 for noted in seen)


def test_a_store_that_nobody_may_write_to_and_one_that_is_not_there_are_read_without_a_note(
    made, tmp_path, monkeypatch
):
    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "no")

    uses = InUse(root_of(made))
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.mkdir", refuse)
        uses.note(made.ref)
    InUse(tmp_path / "nothing").note(made.ref)
    assert used_now(root_of(made)) == used_now(tmp_path / "nothing") == set()
    assert not (tmp_path / "nothing").exists()


def test_notes_of_another_process_are_its_own(made):
    root = root_of(made)
    uses = InUse(root)
    uses.note(made.ref)
    sent = pickle.loads(pickle.dumps(uses))
    sent.note(made.ref)
    assert len([*(root / ".uses").iterdir()]) == 2
    sent.close()
    assert used_now(root) == {made.ref}
    assert len([*(root / ".uses").iterdir()]) == 1
