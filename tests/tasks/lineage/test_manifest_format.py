"""Format 2 of manifests: one digest over all, and inputs named with theirs, so that a change shows wherever it is used."""

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
from importlib.metadata import distribution

import pytest

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, GivenSettings
from tasks.lineage.base_weights import ModelInUse
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import file_sha256, text_sha256
from tasks.lineage.environment import record_digest
from tasks.lineage.progress import Notices, listening
from tasks.lineage.store import Store
from tests.cases.manifests import forge, to_format_1
from tests.cases.recipes import recipe_of, write_two

CONTEXT = RunContext()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def manifest_file(store, ref):
    return store.path(ref) / "manifest.json"


def chain(store, context=CONTEXT):
    """scores <- edit <- evaluation."""
    scores = store.materialise(recipe_of(), write_two, context).ref
    edit = store.materialise(recipe_of(kind="edit", inputs={"scores": scores}), write_two, context).ref
    made = store.materialise(recipe_of(kind="evaluation", inputs={"model": edit}), write_two, context).ref
    return scores, edit, made


def test_the_digest_is_what_a_shell_computes_of_all_other_lines(store):
    _, edit, _ = chain(store)
    path = manifest_file(store, edit)
    command = f"""grep -v '^ "digest": ' {path} | sha256sum"""
    said = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout.split()[0]
    assert store.manifest(edit).digest == said
    without = json.loads("".join(line for line in path.read_text().splitlines() if not line.startswith(' "digest": ')))
    assert without.keys() == json.loads(path.read_text()).keys() - {"digest"}


def test_inputs_are_named_with_the_digests_of_their_manifests(store):
    scores, edit, _ = chain(store)
    (named,) = store.manifest(edit).inputs["scores"]
    assert (named.ref, named.manifest) == (scores, store.manifest(scores).digest)
    assert named.content == text_sha256(
        json.dumps(
            {
                "counts": {},
                "files": [entry.model_dump() for entry in store.manifest(scores).files],
                "version": scores.version,
            },
            sort_keys=True,
            separators=(",", ":"),
        )
    )
    assert store.manifest(scores).inputs == {}


def test_every_bit_of_a_manifest_is_under_its_digest(store):
    _, edit, _ = chain(store)
    path = manifest_file(store, edit)
    data, rng = path.read_bytes(), random.Random(0)
    places = [rng.randrange(len(data) * 8) for _ in range(400)]
    # The line of the digest itself, and what JSON's readers take for the same: the case of an escape or of an exponent.
    line = re.search(rb'^ "digest": .*$', data, re.MULTILINE)
    places += [8 * place + bit for place in range(*line.span()) for bit in (0, 5)]
    for place in places:
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        for reads in (store.manifest, store.check):
            with pytest.raises(ArtifactError):
                reads(edit)
    path.write_bytes(data)
    assert store.check(edit).digest is not None


@pytest.mark.parametrize(("written", "same"), [('"\\u00fc"', '"\\u00FC"'), ("1e-07", "1E-07")])
def test_json_that_reads_the_same_is_not_the_same_manifest(store, written, same):
    def write(build):
        write_two(build)
        build.counts["told"] = json.loads(written)

    made = store.materialise(recipe_of(), write, CONTEXT)
    path = manifest_file(store, made.ref)
    assert written in path.read_text()
    path.write_text(path.read_text().replace(written, same))
    with pytest.raises(ArtifactError, match=r"manifest\.json in .*: it changed since it was made"):
        store.check(made.ref)


def test_a_manifest_whose_digest_was_taken_out_is_refused(store):
    _, edit, _ = chain(store)
    path = manifest_file(store, edit)
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines() if '"digest"' not in line))
    with pytest.raises(ArtifactError, match="but it says none"):
        store.check(edit)


def rewrite_figure(store, ref):
    """Put another figure into a file, and its hash and size into the manifest."""
    (store.path(ref) / "a.txt").write_text("80")

    def change(content):
        content["files"][0] |= {"sha256": file_sha256(store.path(ref) / "a.txt"), "size_bytes": 2}

    forge(manifest_file(store, ref), change)


REWRITTEN = {
    "a figure and its hash": rewrite_figure,
    "a count": lambda store, ref: forge(manifest_file(store, ref), lambda it: it["counts"].update(n_pairs=1)),
}


@pytest.mark.parametrize("what", REWRITTEN)
@pytest.mark.parametrize("place", [0, 1])
def test_what_was_rewritten_with_its_manifest_is_refused_where_it_is_used(store, what, place):
    scores, edit, made = chain(store)
    changed, user = [(scores, edit), (edit, made)][place]
    REWRITTEN[what](store, changed)
    assert store.check(changed)  # alone, nobody can tell
    with pytest.raises(
        ArtifactError, match=rf"{changed.kind} \w+ is not what {user.kind} \w+ was made of: it was changed"
    ):
        store.check(user)
    with pytest.raises(ArtifactError, match="is not what"):
        Store(store.root, hash_once=True).materialise(
            recipe_of(kind=user.kind, inputs=store.manifest(user).recipe.inputs), write_two, CONTEXT
        )


def test_an_input_that_was_made_again_with_the_same_files_is_told_once_and_used(store):
    scores, edit, _ = chain(store)
    digest = store.manifest(scores).digest
    other = store.materialise(recipe_of(kind="other", inputs={"scores": scores}), write_two, CONTEXT).ref
    shutil.rmtree(store.path(scores))
    run = Store(store.root, hash_once=True)
    run.materialise(recipe_of(), write_two, RunContext(seed=1))
    assert run.manifest(scores).digest != digest
    heard = Notices()
    with listening(heard):
        assert [run.check(ref).ref for ref in (edit, other)] == [edit, other]
    (told,) = heard.texts
    assert re.fullmatch(r"scores \w+ has another manifest than edit \w+ was made of, and the same files: .*", told)


def test_an_input_that_comes_out_otherwise_when_it_is_made_again_is_refused(store):
    scores, edit, _ = chain(store)
    shutil.rmtree(store.path(scores))

    def write(build):
        write_two(build)
        (build.folder / "a.txt").write_text("another machine's bits")

    store.materialise(recipe_of(), write, CONTEXT)
    with pytest.raises(ArtifactError, match="came out otherwise when it was made again"):
        store.check(edit)


def test_inputs_that_are_not_in_the_store_are_named_without_digests_and_do_not_hinder(store):
    absent = ArtifactRef(kind="scores", version="0" * 64)
    made = store.materialise(recipe_of(kind="edit", inputs={"scores": absent}), write_two, CONTEXT)
    (named,) = made.manifest.inputs["scores"]
    assert (named.ref, named.manifest, named.content) == (absent, None, None)
    assert store.check(made.ref) == made.manifest


def test_a_manifest_says_who_made_it_with_what(store):
    settings = GivenSettings(given={"name": "x"}, resolved={"name": "x", "seed": 0})
    context = RunContext(device="cpu", settings=settings, run="20260101T000000-ab", started_by="dask")
    around = store.materialise(recipe_of(), write_two, context).manifest.circumstances
    assert (around.run, around.runner, around.process) == ("20260101T000000-ab", "dask", os.getpid())
    assert around.user
    assert around.host == os.uname().nodename
    assert around.product == distribution("unsafe-weights").version
    assert around.libraries.keys() - {"python"} == around.records.keys()
    assert around.hardware["machine"] == os.uname().machine
    assert store.manifest(store.refs()[0]).settings == settings


def test_parts_of_which_a_set_has_thousands_do_not_repeat_the_settings(store):
    context = RunContext(settings=GivenSettings(given={"name": "x"}, resolved={"name": "x"}))
    assert store.materialise(recipe_of(kind="scores.part"), write_two, context).manifest.settings is None


def test_the_record_of_a_library_is_the_same_wherever_it_is_installed_and_another_for_another_file():
    text = "a/b.py,sha256=x,1\n../../bin/tool,sha256=%s,2\na-1.0.dist-info/RECORD,,\n%sa/c.py,sha256=%s,3\n"
    first = record_digest(text % ("one", "", "y"))
    assert first == record_digest(text % ("another", "a/__pycache__/b.cpython-311.pyc,,\n", "y"))
    assert first == hashlib.sha256(b"a/b.py,sha256=x,1\na/c.py,sha256=y,3\n").hexdigest()
    assert first != record_digest(text % ("one", "", "z"))


def test_the_files_of_the_weights_are_named_by_all_that_a_model_has_a_digest_in(store, tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"tensors")
    base, text, edited = (digit * 64 for digit in "abc")
    scores, edit, _ = chain(store)
    models = (
        ModelInUse(frozenset({base, text}), base, (weights,)),
        ModelInUse(frozenset({edited, text}), base, (weights,), edit),
    )
    context = RunContext(models=models)
    named = {
        name: store.materialise(recipe_of(kind=name, inputs=inputs), write_two, context).manifest
        for name, inputs in {
            "of_base": {"encoder": text, "shard": "0" * 64},
            "of_edited": {"encoder": edited},
            "of_none": {"scores": scores, "shards": ["0" * 64]},
        }.items()
    }
    for name in ("of_base", "of_edited"):
        (source,) = named[name].weights
        assert (source.location, source.tensors, source.size_bytes) == (str(weights), base, 7)
        assert source.sha256 == hashlib.sha256(b"tensors").hexdigest()
    assert named["of_none"].weights == []
    # Of an edited model, the edit is what the digest stands for; an encoder that it leaves is the base model's.
    assert named["of_base"].inputs == {}
    assert [item.ref for item in named["of_edited"].inputs["encoder"]] == [edit]


def test_an_older_manifest_is_read_and_marked_and_named_by_the_digest_of_its_file(store):
    scores = store.materialise(recipe_of(), write_two, CONTEXT).ref
    path = manifest_file(store, scores)
    to_format_1(path)
    manifest = store.check(scores)
    assert (manifest.format, manifest.digest) == (1, file_sha256(path))
    edit = store.materialise(recipe_of(kind="edit", inputs={"scores": scores}), write_two, CONTEXT)
    assert edit.manifest.inputs["scores"][0].manifest == file_sha256(path)
    assert (edit.manifest.format, store.check(edit.ref)) == (2, edit.manifest)
    path.write_text(path.read_text().replace("cpu", "gpu", 1))
    heard = Notices()
    with listening(heard):
        store.check(edit.ref)
    assert len(heard.texts) == 1


def test_a_manifest_cannot_pretend_to_be_older_than_what_it_holds(store):
    _, edit, _ = chain(store)
    path = manifest_file(store, edit)
    forge(path, lambda content: content.update(format=1))
    with pytest.raises(ArtifactError, match="format 1 has no inputs"):
        store.manifest(edit)
