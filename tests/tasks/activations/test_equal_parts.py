"""Parts that a LLaVA's tower takes from the CLIP that it is of, and the other way round: the bytes that a pass would make."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_specs.run_config import ModelConfig
from tasks.activations.task import extract_activations
from tasks.encoders.loading import load_model
from tasks.lineage.circumstances import RunContext
from tasks.lineage.contents import artifact_files
from tasks.lineage.planned import PlannedStore
from tasks.lineage.progress import Notices, listening
from tasks.lineage.store import Store
from tasks.shards.plan import plan_reading
from tests.cases.extracting import config_of, write_model_with_tokenizer, write_pair_shards
from tests.cases.tiny_llava import write_tiny_llava

KIND = "activations.vision.part"
ALL = "mlp_output"
FIRST = "visual.transformer.resblocks.0.*"
SEEN = "visual.transformer.resblocks.0.mlp.c_fc.bias"
UNSEEN = ("visual.proj", "visual.ln_post.bias", "visual.transformer.resblocks.1.mlp.c_fc.bias")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A CLIP with its LLaVA, and shards of which one holds a broken sample."""
    folder = tmp_path_factory.mktemp("equal")
    clip = write_model_with_tokenizer(folder)
    write_tiny_llava(folder / "llava", load_file(folder / "model.safetensors"))
    return folder, clip, write_pair_shards(folder / "shards", [4, 5, 3], broken=1)


@pytest.fixture(scope="module")
def clip(place):
    return place[1]


@pytest.fixture(scope="module")
def llava(place):
    return ModelConfig.model_validate({"llava": str(place[0] / "llava")})


@pytest.fixture
def extract(place, tmp_path):
    """Make statistics of a model in a store."""

    def made(model, store="store", layers=ALL, *, limit=None, **settings):
        config = config_of(model, text=None, max_bad_fraction=0.5, **settings)
        plans = plan_reading(place[2], "vision", limit)
        store = store if isinstance(store, Store) else Store(tmp_path / store, hash_once=True)
        return extract_activations("vision", layers, plans, load_model(model), config, store, RunContext())

    return made


def taken_from(store, made):
    """Of each part of a set, the parts that it was taken from."""
    parts = [store.manifest(ref) for ref in made.manifest.recipe.inputs["parts"]]
    return [[item.ref for item in part.inputs.get("taken_from", [])] for part in parts]


def changed(clip, folder, name):
    """The CLIP with one bit of a tensor flipped."""
    folder.mkdir()
    state = load_file(clip.weights)
    bits = state[name].view(torch.int32)
    bits.view(-1)[0] ^= 1
    save_file(state, folder / "other.safetensors")
    return clip.model_copy(update={"weights": str(folder / "other.safetensors")})


def same_bytes(made, other):
    names = artifact_files(made.path, made.ref)
    assert names == artifact_files(other.path, other.ref)
    return all((made.path / name).read_bytes() == (other.path / name).read_bytes() for name in names)


def test_a_tower_takes_what_was_read_for_its_clip(extract, clip, llava, tmp_path):
    of_clip, heard = extract(clip), Notices()
    with listening(heard):
        made = extract(llava)
    alone = extract(llava, "alone")
    assert made.ref == alone.ref
    assert same_bytes(made, alone)
    store = Store(tmp_path / "store")
    parts = of_clip.manifest.recipe.inputs["parts"]
    assert taken_from(store, made) == [[part] for part in parts]
    assert ["3 of 3 shards were read for another model" in text for text in heard.texts].count(True) == 1
    for ref in made.manifest.recipe.inputs["parts"]:
        taken, computed = store.check(ref), Store(tmp_path / "alone").check(ref)
        assert (taken.files, taken.counts, taken.sources) == (computed.files, computed.counts, computed.sources)
        name = taken.files[0].path
        assert (store.path(ref) / name).samefile(
            next(store.path(part) / name for part in parts if (store.path(part) / name).exists())
        )
    # What was broken counts here, too.
    assert len(made.manifest.counts["skipped"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", UNSEEN)
def test_what_the_tower_does_not_see_may_differ(extract, clip, llava, tmp_path, name):
    extract(changed(clip, tmp_path / "other", name))
    assert all(taken_from(Store(tmp_path / "store"), extract(llava)))


@pytest.mark.slow
def test_another_tower_by_one_bit_is_read_for_itself(extract, clip, llava, tmp_path):
    extract(changed(clip, tmp_path / "other", SEEN))
    made = extract(llava)
    assert not any(taken_from(Store(tmp_path / "store"), made))
    assert same_bytes(made, extract(llava, "alone"))


def test_a_clip_takes_the_layers_that_a_tower_has(extract, clip, llava, tmp_path):
    extract(llava, layers=FIRST)
    made = extract(clip, layers="visual.transformer.resblocks.0.mlp.c_proj")
    assert all(taken_from(Store(tmp_path / "store"), made))
    assert same_bytes(made, extract(clip, "alone", layers="visual.transformer.resblocks.0.mlp.c_proj"))
    # Of all its blocks the tower has too few.
    assert not any(taken_from(Store(tmp_path / "store"), extract(clip)))


def test_parts_are_taken_one_by_one(extract, clip, llava, tmp_path):
    extract(clip, limit=10)  # with the broken one as many as two shards hold
    made = extract(llava)
    assert [len(of) for of in taken_from(Store(tmp_path / "store"), made)] == [1, 1, 0]
    assert same_bytes(made, extract(llava, "alone"))


READ_OTHERWISE = {
    "batches of other size": {"batch_size": 3},
    "another precision": {"precision": "bf16"},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", READ_OTHERWISE)
def test_what_was_read_otherwise_is_not_taken(extract, clip, llava, tmp_path, case):
    extract(clip, **READ_OTHERWISE[case])
    assert not any(taken_from(Store(tmp_path / "store"), extract(llava)))


def test_pictures_that_are_prepared_otherwise_are_not_taken(extract, clip, llava, tmp_path):
    content = json.loads(Path(clip.architecture).read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"model_cfg": content, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}}))
    extract(clip.model_copy(update={"architecture": str(other)}))
    assert not any(taken_from(Store(tmp_path / "store"), extract(llava)))


@pytest.mark.slow
def test_a_forged_record_of_tensors_and_damaged_parts_are_passed_over(extract, clip, llava, tmp_path):
    other = changed(clip, tmp_path / "other", SEEN)
    extract(other)
    (record,) = (tmp_path / "store/.encoders").iterdir()
    extract(clip, "true")
    (true,) = (tmp_path / "true/.encoders").iterdir()
    record.write_bytes(true.read_bytes())  # it is of other tensors than its name says
    assert not any(taken_from(Store(tmp_path / "store"), extract(llava)))

    store, heard = Store(tmp_path / "true"), Notices()
    for ref in store.refs():
        if ref.kind == KIND:
            path = store.path(ref) / store.manifest(ref).files[0].path
            path.write_bytes(path.read_bytes()[:-1])
    with listening(heard):
        made = extract(llava, "true")
    assert not any(taken_from(store, made))
    assert any("nothing is taken of another model: activations.vision.part" in text for text in heard.texts)


def test_a_plan_counts_as_there_what_will_be_taken(extract, clip, llava, tmp_path):
    extract(llava, layers=FIRST)
    before = sorted(path.name for path in (tmp_path / "store").rglob("*"))
    planned = PlannedStore(tmp_path / "store")
    for layers, missing in ((FIRST, []), (ALL, [0, 1, 2])):
        made = extract(clip, planned, layers)
        assert (planned.planned[made.ref].there, planned.planned[made.ref].missing) == (False, missing)
    assert sorted(path.name for path in (tmp_path / "store").rglob("*")) == before
