"""How long the like took, by a store's own manifests."""

import time

import pytest

from data_specs.manifest import Recipe
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import recipe_ref
from tasks.lineage.planned import PlannedStore
from tasks.lineage.store import Store
from tasks.planning.pace import Paces
from tasks.planning.work import Work

CODE = "0" * 64
PART = {"architecture": {"width": 8}, "content": None, "precision": "fp32"}


def recipe(kind, **settings):
    return Recipe(kind=kind, settings=settings, code=CODE)


def make(store, asked, seconds=0.0, device="cpu"):
    def write(build):
        (build.folder / "file").write_text("x")
        time.sleep(seconds)

    return store.materialise(asked, write, RunContext(device=device))


def asked_set(**settings):
    part = recipe("embeddings.text.part", samples=1, **PART)
    return Recipe(kind="embeddings.text", settings=PART | settings, inputs={"parts": [recipe_ref(part)]}, code=CODE)


@pytest.mark.slow
def test_seconds_grow_with_the_samples_of_parts_and_not_with_other_artifacts(tmp_path):
    store = Store(tmp_path)
    make(store, recipe("embeddings.text.part", samples=4, **PART), seconds=0.4)
    make(store, recipe("differences", seed=0), seconds=0.2)
    paces = Paces(store, "cpu")
    one, ten = (paces.seconds(asked_set(), Work(texts=n)) for n in (8, 80))
    assert one >= 0.4
    assert ten == pytest.approx(10 * one)
    assert paces.seconds(recipe("differences", seed=1), Work(size_bytes=9)) >= 0.2


def test_another_device_model_or_kind_says_nothing(tmp_path):
    store = Store(tmp_path)
    make(store, recipe("embeddings.text.part", samples=4, **PART))
    assert Paces(store, "cpu").seconds(asked_set(), Work(texts=8)) is not None
    assert Paces(store, "cuda").seconds(asked_set(), Work(texts=8)) is None
    assert Paces(store, "cpu").seconds(asked_set(architecture={"width": 9}), Work(texts=8)) is None
    assert Paces(store, "cpu").seconds(asked_set(sums_by_tag=True), Work(texts=8)) is None
    assert Paces(store, "cpu").seconds(recipe("report"), Work()) is None


def test_broken_artifacts_and_an_empty_store_are_passed_over(tmp_path):
    assert Paces(Store(tmp_path / "none"), "cpu").seconds(recipe("report"), Work()) is None
    store = Store(tmp_path)
    made = make(store, recipe("report", name="a"))
    (made.path / "manifest.json").write_text("{")
    (tmp_path / "report" / "a folder").mkdir()
    assert Paces(store, "cpu").seconds(recipe("report"), Work()) is None


def test_a_planned_store_makes_nothing_and_knows_what_follows_from_what_is_not_known(tmp_path):
    own = Store(tmp_path)  # its note of what it uses is there as long as it is
    there = make(own, recipe("scores", tau=0.9))
    store = PlannedStore(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    found = make(store, recipe("scores", tau=0.9))
    assert (found.ref, found.reused) == (there.ref, True)
    with store.guessing():
        guessed = make(store, recipe("embeddings.text", encoder="not known"))
    later = make(store, Recipe(kind="evaluation", inputs={"embeddings": guessed.ref}, code=CODE))
    sure = make(store, Recipe(kind="evaluation", inputs={"scores": there.ref}, code=CODE))
    assert sorted(tmp_path.rglob("*")) == before
    certain = {ref: item.certain for ref, item in store.planned.items()}
    assert certain == {there.ref: True, guessed.ref: False, later.ref: False, sure.ref: True}
    assert own.holds(there.ref)
