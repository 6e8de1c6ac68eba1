"""Whatever is flipped, deleted, swapped, renamed or linked in a store is found and named, and one fault hides no other."""

import hashlib
import json
import os
import random
import shutil
from collections import Counter

import pytest

from data_specs.errors import ArtifactError
from data_specs.manifest import Source
from tasks.lineage.base_weights import ModelInUse
from tasks.lineage.checking.verification import faults_in_words, outside_of, verified, whole_store
from tasks.lineage.circumstances import RunContext
from tasks.lineage.dropping.pruning import prune
from tasks.lineage.store import Store
from tests.cases.manifests import forge, to_format_1
from tests.cases.recipes import recipe_of

CONTEXT = RunContext()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def writer(name, n_files=2):
    def write(build):
        for number in range(n_files):
            path = build.folder / f"part={number}" / f"{name}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(hashlib.sha256(f"{name}{number}".encode()).digest() * 3)
        build.counts["rows"] = {"ü": 1e-07}

    return write


@pytest.fixture
def chain(store):
    """two parts <- set <- scores <- edit <- evaluation <- report, and the edit is the evaluation's model, too."""
    parts = [
        store.materialise(recipe_of(kind="set.part", settings={"n": n}), writer(f"p{n}"), CONTEXT).ref for n in "ab"
    ]
    made = {"part": parts[0], "other": parts[1]}
    made["set"] = store.materialise(recipe_of(kind="set", inputs={"parts": parts}), writer("set"), CONTEXT).ref
    for name, role in (("scores", "set"), ("edit", "scores"), ("evaluation", "edit"), ("report", "evaluation")):
        recipe = recipe_of(kind=name, inputs={role: made[role]})
        made[name] = store.materialise(recipe, writer(name), CONTEXT).ref
    return made


def files_of(store):
    return sorted(path for path in store.root.glob("[!.]*/**/*") if path.is_file())


def faults_of(store, ref):
    return [fault for item in verified(store, [ref]) for fault in item.faults]


def named(store, faults):
    """The files that faults name."""
    return {store.path(fault.artifact) / fault.place for fault in faults}


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)


def test_a_sound_chain_has_no_faults_and_is_looked_at_inputs_first_each_once(store, chain):
    order = [item.ref for item in verified(store, [chain["report"]])]
    assert order == list(chain.values())
    assert [item.ref for item in verified(store, [chain["edit"], chain["report"], chain["edit"]])] == order
    assert faults_of(store, chain["report"]) == []
    items, faults = whole_store(store)
    assert ({item.ref for item in items}, faults) == ({*chain.values()}, [])


@pytest.mark.slow
def test_each_of_300_flipped_bits_is_found_and_named_alone(store, chain):
    rng, paths = random.Random(0), files_of(store)
    assert len(paths) == 7 * 3
    for number in range(300):
        path = paths[number % len(paths)]
        data = path.read_bytes()
        flip(path, rng.randrange(8 * len(data)))
        faults = faults_of(store, chain["report"])
        assert path in named(store, faults), (path, faults)
        path.write_bytes(data)
    assert faults_of(store, chain["report"]) == []


@pytest.mark.parametrize("seed", range(5))
def test_300_bits_flipped_at_once_over_all_files_are_all_named(store, chain, seed):
    rng, paths = random.Random(seed), files_of(store)
    hit = Counter()
    for _ in range(300):
        path = rng.choice(paths)
        flip(path, rng.randrange(8 * path.stat().st_size))
        hit[path] += 1
    items, faults = whole_store(store)
    assert {path for path, n in hit.items() if n % 2} <= named(store, [*faults, *(f for i in items for f in i.faults)])


@pytest.mark.parametrize("seed", range(5))
def test_one_bit_in_every_manifest_hides_nothing_below(store, chain, seed):
    rng, paths = random.Random(seed), files_of(store)
    for path in paths:
        flip(path, rng.randrange(8 * path.stat().st_size))
    assert named(store, faults_of(store, chain["report"])) >= {*paths}


def swap(one, two):
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def place(store, ref, name="part=0"):
    (path,) = (store.path(ref) / name).iterdir()
    return path


def swap_folders(store, chain):
    one, two = (store.path(chain[name]) for name in ("part", "other"))
    one.rename(one.parent / "aside")
    two.rename(one)
    (one.parent / "aside").rename(two)


def link(path, keep):
    shutil.copyfile(path, keep)
    path.unlink()
    path.symlink_to(keep)


DAMAGE = {
    "a file deleted": (lambda s, c, _: place(s, c["scores"]).unlink(), {("missing", "scores")}),
    "a manifest deleted": (lambda s, c, _: (s.path(c["edit"]) / "manifest.json").unlink(), {("missing", "edit")}),
    "an artifact deleted": (lambda s, c, _: shutil.rmtree(s.path(c["set"])), {("missing", "set")}),
    "a file added": (lambda s, c, _: (s.path(c["set"]) / "x").write_text(""), {("extra", "set")}),
    "two files swapped": (
        lambda s, c, _: swap(place(s, c["set"]), place(s, c["edit"])),
        {("changed", "set"), ("changed", "edit")},
    ),
    "two artifacts swapped": (lambda s, c, _: swap_folders(s, c), {("changed", "part"), ("changed", "other")}),
    "a file renamed": (
        lambda s, c, _: place(s, c["edit"]).rename(s.path(c["edit"]) / "part=0" / "y"),
        {("missing", "edit"), ("extra", "edit")},
    ),
    "an artifact renamed": (
        lambda s, c, _: s.path(c["edit"]).rename(s.path(c["edit"]).with_name("old")),
        {("missing", "edit")},
    ),
    "a file made a link": (lambda s, c, t: link(place(s, c["edit"]), t / "kept"), {("linked", "edit")}),
    "a manifest made a link": (
        lambda s, c, t: link(s.path(c["edit"]) / "manifest.json", t / "kept"),
        {("linked", "edit")},
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_was_deleted_swapped_renamed_or_linked_is_named(store, chain, tmp_path, what):
    damage, expected = DAMAGE[what]
    damage(store, chain, tmp_path)
    names = {ref: name for name, ref in chain.items()}
    found = {(fault.wrong, names[fault.artifact]) for fault in faults_of(store, chain["report"])}
    assert expected <= found
    items, faults = whole_store(store)
    assert expected <= {(f.wrong, names[f.artifact]) for f in [*faults, *(f for item in items for f in item.faults)]}


def test_a_folder_made_a_link_is_named(store, chain, tmp_path):
    folder = store.path(chain["edit"])
    shutil.move(folder, tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    assert ("linked", chain["edit"]) in {(fault.wrong, fault.artifact) for fault in faults_of(store, chain["report"])}


@pytest.mark.parametrize("kind", ["part", "set", "scores", "edit", "evaluation"])
def test_a_manifest_rewritten_with_its_digest_is_named_by_what_was_made_of_it(store, chain, kind):
    path = store.path(chain[kind]) / "manifest.json"
    forge(path, lambda content: content["circumstances"].update(host="elsewhere"))
    (fault,) = faults_of(store, chain["report"])
    assert (fault.wrong, fault.artifact, fault.place) == ("changed", chain[kind], "manifest.json")
    assert "it was made again, or somebody rewrote it" in fault.text


def test_an_artifact_of_which_nothing_was_made_is_compared_with_the_records_of_runs(store, chain):
    manifest = store.manifest(chain["report"])
    (store.root / ".runs").mkdir()
    digests = {manifest.version: {"manifest": manifest.digest, "content": "0" * 64}}
    (store.root / ".runs" / "20260101T000000-a.json").write_text(json.dumps({"manifests": digests}))
    assert whole_store(store)[1] == []
    forge(store.path(chain["report"]) / "manifest.json", lambda content: content["counts"].update(rows=1))
    (fault,) = whole_store(store)[1]
    assert fault.artifact == chain["report"]
    assert "is not as run 20260101T000000-a found it" in fault.text


def test_what_was_pruned_is_not_missing_but_what_is_left_of_it_is_compared(store, chain):
    prune(store, chain["scores"], "not needed")
    assert faults_of(store, chain["report"]) == []
    assert [item.ref for item in verified(store, [chain["report"]]) if item.pruned] == [chain["scores"]]
    note = store.path(chain["scores"]) / "pruned.json"
    flip(note, 8 * 40)
    assert named(store, faults_of(store, chain["report"])) == {note}
    note.unlink()
    assert {fault.wrong for fault in faults_of(store, chain["report"])} == {"missing"}


def test_an_older_chain_is_looked_at_by_its_recipes(store, chain):
    for ref in chain.values():
        to_format_1(store.path(ref) / "manifest.json")
    assert [item.ref for item in verified(store, [chain["report"]])] == list(chain.values())
    assert faults_of(store, chain["report"]) == []
    path = place(store, chain["part"])
    flip(path, 3)
    assert named(store, faults_of(store, chain["report"])) == {path}


def test_a_circle_of_manifests_ends(store, chain):
    path = store.path(chain["part"]) / "manifest.json"
    forge(path, lambda content: content["recipe"].update(inputs={"up": chain["report"].model_dump()}))
    assert named(store, faults_of(store, chain["report"])) == {path}


def test_shards_and_weights_outside_are_hashed_where_they_lie_on_this_machine(store, tmp_path):
    shard, weights = tmp_path / "s.tar", tmp_path / "w.safetensors"
    shard.write_bytes(b"shard")
    weights.write_bytes(b"weights")
    context = RunContext(models=(ModelInUse(frozenset({"a" * 64}), "a" * 64, (weights,)),))

    def write(build):
        writer("x")(build)
        for location in (str(shard), "https://host/s.tar", str(tmp_path / "gone.tar")):
            build.sources.append(Source(location=location, sha256=hashlib.sha256(b"shard").hexdigest(), size_bytes=5))

    manifest = store.materialise(recipe_of(inputs={"model": "a" * 64}), write, context).manifest
    found = outside_of([manifest, manifest])
    assert (found.n_hashed, found.faults) == (2, [])
    assert found.unreachable == ["https://host/s.tar", str(tmp_path / "gone.tar")]
    for path in (shard, weights):
        flip(path, 0)
    assert [(fault.wrong, fault.place) for fault in outside_of([manifest]).faults] == [
        ("changed", str(shard)),
        ("changed", str(weights)),
    ]


def test_many_faults_are_one_sentence_that_counts_them(store, chain):
    for name in ("edit", "scores"):
        place(store, chain[name]).unlink()
    faults = faults_of(store, chain["report"])
    assert faults_in_words(faults) == f"2 faults, the first: {faults[0].text}"
    assert faults_in_words(faults[1:]) == faults[1].text


def test_a_store_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ArtifactError, match="there is no store in"):
        whole_store(Store(tmp_path / "none"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(store, chain):
    path = place(store, chain["edit"])
    path.chmod(0)
    assert named(store, faults_of(store, chain["report"])) == {path}
