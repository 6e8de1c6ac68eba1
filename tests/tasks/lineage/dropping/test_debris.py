"""What killed processes leave beside artifacts is told from what a run would go on with."""

import os
import time

import pytest

from data_specs.errors import MachineError
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import recipe_ref
from tasks.lineage.dropping.debris import count_dead_locks, dead_scratch, remove_dead_locks, remove_debris
from tasks.lineage.dropping.pruning import freed_bytes, has_leftovers, prune, remove_leftovers
from tasks.lineage.store import Store
from tests.cases.recipes import recipe_of, write_two
from tests.cases.store_users import killed_while_dropping

CONTEXT = RunContext()
DAY = 24 * 3600.0


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_scratch_is_dead_when_nobody_works_in_it_and_nothing_in_it_is_finished(store):
    def cut(build):
        (build.folder / "a.txt").write_text("half of it")
        if build.recipe.settings["finished"]:
            path = build.folder / "part.bin"
            path.write_bytes(b"a part")
            build.parts.finish("0", [path], {})
        raise MachineError("the memory is full")

    recipes = {finished: recipe_of(settings={"finished": finished}) for finished in (False, True)}
    for recipe in recipes.values():
        with pytest.raises(MachineError):
            store.materialise(recipe, cut, CONTEXT)
    (dead,) = dead_scratch(store, DAY)
    assert dead.ref == recipe_ref(recipes[False])
    assert dead.size_bytes == len("half of it")
    held = store.leases.wait(dead.ref)
    assert [*dead_scratch(store, DAY)] == []
    assert not remove_debris(store, dead)
    held()
    assert remove_debris(store, dead)
    assert [*dead_scratch(store, DAY)] == []
    (folder,) = store.root.glob(".scratch/*")
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (0, time.time() - 2 * DAY))
    (old,) = dead_scratch(store, DAY)
    assert old.ref == recipe_ref(recipes[True])


def test_locks_that_nobody_holds_are_removed_and_those_that_are_held_go_on_holding(store):
    made = [store.materialise(recipe_of(kind=kind), write_two, CONTEXT) for kind in ("edit", "model")]
    release = store.leases.wait(made[0].ref)
    assert (count_dead_locks(store.root), len([*store.root.glob(".locks/*.lock")])) == (1, 2)
    assert remove_dead_locks(store.root) == 1
    assert store.leases.take(made[0].ref) is None
    release()
    again = store.leases.take(made[0].ref)
    assert again is not None
    again()


@pytest.mark.parametrize("when", ["between", "half"])
def test_a_drop_that_was_killed_leaves_nothing_that_is_taken_for_the_artifact_and_is_completed(store, when):
    made = store.materialise(recipe_of(kind="model"), write_two, CONTEXT)
    store.uses.close()
    before = {path.name: path.read_bytes() for path in made.path.iterdir()}
    killed_while_dropping(store.root, made.ref, when)
    later = Store(store.root)
    assert not later.holds(made.ref)
    assert has_leftovers(made.path)
    store.uses.note(made.ref)
    assert not remove_leftovers(later, made.ref)
    store.uses.close()
    assert remove_leftovers(later, made.ref)
    assert sorted(path.name for path in made.path.iterdir()) == ["manifest.json", "pruned.json"]
    again = later.materialise(recipe_of(kind="model"), write_two, CONTEXT)
    assert {path.name: path.read_bytes() for path in again.path.iterdir()} == before


@pytest.mark.parametrize("when", ["between", "half"])
def test_what_was_half_dropped_is_made_again_without_being_completed_first(store, when):
    made = store.materialise(recipe_of(kind="model"), write_two, CONTEXT)
    store.uses.close()
    before = {path.name: path.read_bytes() for path in made.path.iterdir()}
    killed_while_dropping(store.root, made.ref, when)
    again = Store(store.root).materialise(recipe_of(kind="model"), write_two, CONTEXT)
    assert not again.reused
    assert {path.name: path.read_bytes() for path in again.path.iterdir()} == before


def test_files_that_other_artifacts_hold_too_free_nothing_before_all_of_them_are_dropped(store):
    part = store.materialise(recipe_of(kind="embeddings.text.part"), write_two, CONTEXT)

    def gather(build):
        for entry in part.manifest.files:
            build.take(part.path, entry, entry.path)
        (build.folder / "own.txt").write_text("own")

    whole = store.materialise(recipe_of(kind="embeddings.text", inputs={"parts": [part.ref]}), gather, CONTEXT)
    assert freed_bytes({part.path: part.manifest}) == 0
    assert freed_bytes({whole.path: whole.manifest}) == len("own")
    both = {item.path: item.manifest for item in (part, whole)}
    assert freed_bytes(both) == len("own") + len("first") + len("second")
    store.uses.close()
    prune(Store(store.root), part.ref, "test")
    assert freed_bytes({whole.path: whole.manifest}) == len("own") + len("first") + len("second")
    assert (whole.path / "a.txt").read_text() == "first"
