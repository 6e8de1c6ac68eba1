"""Two numbers differ for what differs first behind them; what followed is told, and nothing where nothing differs."""

import json

import pytest

from data_specs.errors import SpecError
from tasks.lineage.digest import text_sha256
from tasks.lineage.store import Store
from tasks.tracing.divergence import find_divergences
from tasks.tracing.edges import Edges
from tasks.tracing.index import open_index
from tests.cases.large_store import LargeStore

ROLE = "evaluation.edited"


@pytest.fixture
def large(tmp_path):
    made = LargeStore(tmp_path / "store")
    made.shards = made.shards[:3]
    return made


def parted(large, first, second):
    return find_divergences(Store(large.root), Edges(open_index(large.root)), first[ROLE], second[ROLE])


def told(found):
    return [(item.differing.what, item.differing.name, item.differing.first, item.differing.second) for item in found]


def where(item):
    return sorted({one.kind for one, _ in item.where})


def followed(item):
    return {one.kind for one, _ in item.followed}


def test_nothing_differs_between_a_number_and_itself(large):
    made = large.run("small", {"batch_size": 32}, 0.9)
    assert parted(large, made, made) == []


def test_a_changed_tau_starts_in_the_edit_and_what_it_made_follows(large):
    first, second = large.run("a", {"batch_size": 32}, 0.9), large.run("b", {"batch_size": 32}, 0.8)
    (found,) = [item for item in parted(large, first, second) if item.differing.what == "setting"]
    assert told([found]) == [("setting", "text.tau", "0.9", "0.8")]
    assert found.where == [(first["edit"], second["edit"])]
    # The parts of the embeddings name the edited model by its encoder's digest alone.
    assert followed(found) >= {"model", "evaluation", "embeddings.text", "embeddings.vision.part"}
    assert followed(found) & {"scores", "activations.text"} == set()
    kinds = [one.kind for one, _ in found.followed]
    assert kinds.index("model") < kinds.index("evaluation")


def test_a_setting_of_the_pass_starts_in_the_parts_and_is_told_once(large):
    first, second = large.run("a", {"batch_size": 32}, 0.9), large.run("a", {"batch_size": 64}, 0.9)
    found = parted(large, first, second)
    assert told(found) == [("setting", "batch_size", "32", "64")]
    # Those of the embeddings stand on the edited model.
    assert where(found[0]) == ["activations.text.part", "activations.vision.part"]
    assert len(found[0].where) == 6
    assert followed(found[0]) == {
        "activations.text", "activations.vision", "layer_scores.text", "layer_scores.vision", "scores", "edit", "model",
        "embeddings.text", "embeddings.vision", "embeddings.text.part", "embeddings.vision.part", "evaluation",
    }  # fmt: skip


def test_a_shard_more_one_less_and_one_that_changed_are_named_by_where_they_lay(large):
    first = large.run("a", {}, 0.9)
    shards = large.shards
    large.shards = [*shards[:2], LargeStore(large.root).shards[5]]
    assert told(parted(large, first, large.run("a", {}, 0.9))) == [
        ("shard", "/data/000002.tar", shards[2].sha256, None),
        ("shard", "/data/000005.tar", None, text_sha256("shard 5")),
    ]
    changed = shards[2].model_copy(update={"sha256": "e" * 64})
    large.shards = [*shards[:2], changed]
    found = parted(large, first, large.run("a", {}, 0.9))
    assert told(found) == [("shard", "/data/000002.tar", shards[2].sha256, "e" * 64)]
    assert where(found[0]) == ["activations.text", "activations.vision", "embeddings.text", "embeddings.vision"]
    large.shards = shards[::-1]
    ((what, name, *_),) = told(parted(large, first, large.run("a", {}, 0.9)))
    assert (what, name) == ("shard", "order of the shards")


def rewrite(root, refs, change):
    for ref in refs:
        path = root / ref.kind / ref.version / "manifest.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


def test_libraries_device_and_hardware_of_what_differs_are_named(large):
    first, second = large.run("a", {"batch_size": 32}, 0.9), large.run("a", {"batch_size": 64}, 0.9)

    def change(content):
        content["circumstances"] |= {"device": "cuda", "precision": "tf32"}
        content["circumstances"]["libraries"] |= {"torch": "2.0", "new": "1"}

    rewrite(large.root, [second["layer_scores.text"]], change)
    found = parted(large, first, second)
    assert told(found)[1:] == [
        ("library", "torch", "1.0", "2.0"), ("library", "new", None, "1"), ("device", "device", "cpu", "cuda"),
        ("precision", "precision", "fp32", "tf32"),
    ]  # fmt: skip
    assert found[1].where == [(first["layer_scores.text"], second["layer_scores.text"])]
    assert "evaluation" in followed(found[1])


def test_modules_are_named_by_their_files_and_code_without_them_as_it_is(large, monkeypatch):
    from tests.cases import large_store

    first = large.run("a", {}, 0.9)
    add = large.add
    modules = dict(large_store._MODULES)

    def other_code(kind, settings, inputs, files, sources=()):
        if kind != "scores":
            return add(kind, settings, inputs, files, sources)
        monkeypatch.setattr(large_store, "text_sha256", lambda text: text_sha256(text + "!" * (text == "code")))
        monkeypatch.setattr(large_store, "_MODULES", modules | {"tasks.scoring.saliency": "d" * 64})
        ref = add(kind, settings, inputs, files, sources)
        monkeypatch.undo()
        return ref

    large.add = other_code
    found = parted(large, first, large.run("a", {}, 0.9))
    assert told(found) == [("module", "tasks/scoring/saliency.py", None, "d" * 64)]
    assert where(found[0]) == ["scores"]


def test_other_weights_are_named_and_two_kinds_are_no_pair(large, monkeypatch):
    from tests.cases import large_store

    first = large.run("a", {}, 0.9)
    monkeypatch.setattr(large_store, "text_sha256", lambda text: text_sha256(text + "!" * (text == "base")))
    second = large.run("a", {}, 0.9)
    monkeypatch.undo()
    found = [item for item in told(parted(large, first, second)) if item[0] == "weights"]
    assert {(one, other) for _, _, one, other in found} == {(text_sha256("base"), text_sha256("base!"))}
    with pytest.raises(SpecError, match="are of two kinds"):
        find_divergences(Store(large.root), Edges(open_index(large.root)), first["edit"], first["model"])
