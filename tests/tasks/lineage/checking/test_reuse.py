"""What another environment made is told where it is used, refused, or used without a word."""

from dataclasses import replace

import pytest

from data_specs.errors import ArtifactError
from tasks.lineage.checking.reuse import ReuseWatch, record_of_reuse
from tasks.lineage.circumstances import RunContext
from tasks.lineage.environment import environment_changes, environment_here
from tasks.lineage.progress import Notices, listening
from tasks.lineage.store import Store
from tests.cases.manifests import forge, to_format_1
from tests.cases.recipes import recipe_of, write_two

CONTEXT = RunContext()
HERE = environment_here("cpu", "fp32")
OTHERWISE = {
    "library": (replace(HERE, libraries={**HERE.libraries, "torch": "0.1"}), "torch {torch} then, 0.1 now"),
    "build of a library": (
        replace(HERE, records={**HERE.records, "numpy": "f" * 64}),
        "numpy {numpy} ({record}) then, {numpy} (ffffffff) now",
    ),
    "machine": (replace(HERE, hardware={**HERE.hardware, "cpu": "abacus"}), "cpu {cpu} then, abacus now"),
    "device": (replace(HERE, device="cuda:1"), "device cpu then, cuda now"),
    "precision": (replace(HERE, precision="bf16"), "precision fp32 then, bf16 now"),
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def used(store, refs, here, policy):
    """What is told when artifacts are used, and what the watch has found."""
    watch, heard = ReuseWatch(here, policy), Notices()
    run = Store(store.root, hash_once=True, listeners=[watch])
    with listening(heard):
        for ref in refs:
            run.ensure(ref)
    return heard.texts, watch


def made(store, name="scores", **inputs):
    return store.materialise(recipe_of(kind=name, inputs=inputs), write_two, CONTEXT).ref


@pytest.mark.parametrize("what", OTHERWISE)
def test_each_difference_is_told_once_with_both_values_and_counted_for_the_record(store, what):
    here, expected = OTHERWISE[what]
    said = expected.format(
        torch=HERE.libraries["torch"],
        numpy=HERE.libraries["numpy"],
        record=HERE.records["numpy"][:8],
        cpu=HERE.hardware["cpu"],
    )
    refs = [made(store), made(store, "edit")]
    texts, watch = used(store, refs, here, "warn")
    assert texts == [f"reused, though made in another environment: scores {refs[0].version[:12]}, {said}"]
    assert record_of_reuse([watch]) == {"artifacts": sorted(ref.version for ref in refs), "differences": {said: 2}}


@pytest.mark.parametrize("what", OTHERWISE)
def test_each_is_refused_where_that_was_asked_and_used_without_a_word_where_it_is_to_be_ignored(store, what):
    here, _ = OTHERWISE[what]
    ref = made(store)
    with pytest.raises(
        ArtifactError, match=r"was made in another environment: .*, or give --same-environment warn"
    ) as error:
        used(store, [ref], here, "refuse")
    assert error.value.exit_code == 4
    texts, watch = used(store, [ref], here, "ignore")
    assert (texts, record_of_reuse([watch])) == ([], {})


@pytest.mark.parametrize("policy", ["warn", "refuse", "ignore"])
def test_what_the_same_environment_made_and_what_this_run_made_is_used_without_a_word(store, policy):
    texts, watch = used(store, [made(store)], replace(HERE, device="cpu:3"), policy)
    assert (texts, record_of_reuse([watch])) == ([], {})
    watch = ReuseWatch(replace(HERE, device="cuda"), "refuse")
    run = Store(store.root, listeners=[watch])
    assert run.check(run.materialise(recipe_of(kind="edit"), write_two, CONTEXT).ref)


def test_parts_behind_a_set_that_is_used_are_looked_at_too(store):
    recipe = recipe_of(kind="set.part", settings={"n": 0})
    part = store.materialise(recipe, write_two, RunContext(device="cuda:0", precision="bf16")).ref
    whole = made(store, "set", parts=[part])
    texts, watch = used(store, [whole], HERE, "warn")
    assert [*watch.found] == [part]
    assert texts == [
        f"reused, though made in another environment: set.part {part.version[:12]}, device cuda then, cpu now,"
        " precision bf16 then, fp32 now"
    ]
    with pytest.raises(ArtifactError, match=r"set\.part \w+ was made in another environment"):
        used(store, [whole], HERE, "refuse")


def test_of_older_manifests_what_they_record_is_compared(store):
    ref = made(store)
    path = store.path(ref) / "manifest.json"
    to_format_1(path)
    assert used(store, [ref], HERE, "refuse")[0] == []
    forge(path, lambda content: content["circumstances"]["libraries"].update(torch="0.1"))
    (text,) = used(store, [ref], HERE, "warn")[0]
    assert text.endswith(f"torch 0.1 then, {HERE.libraries['torch']} now")


def test_what_only_one_of_two_environments_records_is_no_difference():
    bare = replace(HERE, records={}, hardware={}, libraries={"python": HERE.libraries["python"]})
    assert environment_changes(bare, HERE) == environment_changes(HERE, bare) == {}
