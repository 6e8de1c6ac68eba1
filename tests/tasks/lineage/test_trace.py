from itertools import permutations

import pytest

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, Recipe
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import recipe_version, text_sha256
from tasks.lineage.store import Store
from tasks.lineage.trace import inputs_of, lineage_lines, verify_lineage
from tests.cases.recipes import recipe_of, write_two

CONTEXT = RunContext()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_one_changed_setting_changes_that_version_and_those_made_from_it_only():
    def versions(tau, text_tau=0.9):
        scores = recipe_of(settings={"tau": tau})
        other = recipe_of(settings={"tau": text_tau}, kind="scores.other")
        ref = ArtifactRef(kind="scores", version=recipe_version(scores))
        edit = recipe_of(kind="edit", settings={}, inputs={"scores": ref, "model": "0" * 64})
        return [recipe_version(item) for item in (scores, other, edit)]

    before, after = versions(0.98), versions(0.97)
    assert before[0] != after[0]
    assert before[1] == after[1]
    assert before[2] != after[2]


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "edit"},
        {"code": "c0df"},
        {"settings": {"tau": 0.98, "layers": ["b", "a"]}},
        {"settings": {"tau": "0.98", "layers": ["a", "b"]}},
        {"settings": {"tau": 0.98, "layers": ["a", "b"], "more": None}},
        {"inputs": {"shards": ["1" * 64]}},
    ],
)
def test_every_part_of_a_recipe_is_in_its_version(changed):
    assert recipe_version(recipe_of(**changed)) != recipe_version(recipe_of())


def test_shards_in_another_order_are_another_recipe():
    one, two = (recipe_of(inputs={"shards": shards}) for shards in (["1" * 64, "2" * 64], ["2" * 64, "1" * 64]))
    assert recipe_version(one) != recipe_version(two)


def test_the_order_of_keys_is_not_in_the_version():
    items = [("tau", 0.98), ("alpha", -1), ("nested", {"x": 1, "y": [1, 2]})]
    found = {recipe_version(recipe_of(settings=dict(order))) for order in permutations(items)}
    found.add(recipe_version(recipe_of(settings={"nested": {"y": [1, 2], "x": 1}, "alpha": -1, "tau": 0.98})))
    assert len(found) == 1


def test_artifacts_are_listed_and_found_by_the_beginning_of_their_version(store):
    assert store.refs() == []
    made = [store.materialise(recipe_of(kind=kind), write_two, CONTEXT).ref for kind in ("scores", "edit", "model")]
    assert store.refs() == sorted(made, key=lambda ref: ref.kind)
    assert store.find(made[0].version[:16]) == made[0]
    with pytest.raises(ArtifactError, match=r"version 'zz' names none of the 3 artifacts in"):
        store.find("zz")
    with pytest.raises(ArtifactError, match=r"version '' names 3 artifacts \(edit \w{16}, model"):
        store.find("")


def chain(store):
    """scores <- edit <- model, and scores <- model."""
    scores = store.materialise(recipe_of(inputs={"shards": ["0" * 64]}), write_two, CONTEXT).ref
    edit = store.materialise(recipe_of(kind="edit", inputs={"scores": scores}), write_two, CONTEXT).ref
    model = store.materialise(recipe_of(kind="model", inputs={"edit": edit, "scores": scores}), write_two, CONTEXT).ref
    return scores, edit, model


def test_a_lineage_is_verified_inputs_first_each_once(store):
    scores, edit, model = chain(store)
    assert list(verify_lineage(store, model)) == [(scores, 2), (edit, 2), (model, 2)]
    assert list(verify_lineage(store, edit)) == [(scores, 2), (edit, 2)]
    assert inputs_of(store, model) == {"edit": edit, "scores": scores}
    assert inputs_of(store, scores) == {}


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_change_anywhere_in_the_lineage_is_found(store, broken):
    refs = chain(store)
    (store.path(refs[broken]) / "a.txt").write_text("other")
    with pytest.raises(ArtifactError, match=f"{refs[broken].kind} .*file a.txt changed"):
        list(verify_lineage(store, refs[-1]))


def test_lineage_lines_reach_back_to_the_shards(store):
    scores, edit, model = chain(store)
    found = [line.split() for line in lineage_lines(store, model)]
    shards = ["shards:", "sha256", "0" * 16, "shard.tar"]
    assert [words[:3] for words in found] == [
        ["made:", "model", model.version[:16]],
        ["edit:", "edit", edit.version[:16]],
        ["scores:", "scores", scores.version[:16]],
        shards[:3],
        ["scores:", "scores", scores.version[:16]],
        shards[:3],
    ]
    assert [words for words in found if words[0] == "shards:"] == [shards, shards]
    depth = [(len(line) - len(line.lstrip())) // 2 for line in lineage_lines(store, model)]
    assert depth == [0, 1, 2, 3, 1, 2]


def test_versions_are_sha256_of_canonical_json():
    recipe = Recipe(kind="edit", settings={"b": 1.5, "a": None}, inputs={"model": "m"}, code="x")
    text = '{"code":"x","inputs":{"model":"m"},"kind":"edit","settings":{"a":null,"b":1.5}}'
    assert recipe_version(recipe) == text_sha256(text)
