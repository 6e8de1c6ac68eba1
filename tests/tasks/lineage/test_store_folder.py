"""What may lie at a store's place and in its folder, and what becomes of it."""

import os
import shutil

import pytest

from data_specs.errors import ArtifactError, SpecError
from data_specs.manifest import ArtifactRef
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.lineage.trace import lineage_lines, verify_lineage
from tests.cases.manifests import forge
from tests.cases.recipes import recipe_of, write_two

CONTEXT = RunContext()


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "store")
    for kind in ("edit", "model", "scores"):
        opened.materialise(recipe_of(kind=kind), write_two, CONTEXT)
    return opened


@pytest.mark.parametrize(
    "url", ["s3://bucket/x", "gs://bucket", "http://host/x", "file:///tmp/x", "file:/tmp/x", " S3://b", "dbfs:/mnt/x"]
)
def test_a_url_is_no_store(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"--store is a URL \(\w+://\), expected a folder of a local disk"):
        Store(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", " ", "a\0b", "\udcff"])
def test_what_is_no_path_is_no_store(text):
    with pytest.raises(SpecError, match="is no path"):
        Store(text)


def test_a_folder_that_looks_like_a_url_is_named_by_its_full_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / "s3:" / "x", "./s3:/x"):
        assert Store(place).root == tmp_path / "s3:" / "x"


@pytest.mark.parametrize("place", ["file", "file/below", "dangling", "dangling/below", "loop"])
def test_a_store_that_cannot_be_a_folder_is_refused_before_any_work(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "file" / "nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ArtifactError, match="choose another with --store"):
        Store(tmp_path / place)


def test_copies_beside_artifacts_are_passed_over(store):
    (model,) = (store.root / "model").iterdir()
    before = store.refs()
    for copy in ("model (copy)", "model.bak", "scores", "a\nb"):
        shutil.copytree(store.root / "model", store.root / copy, dirs_exist_ok=True)
    for copy in (f"{model.name} (copy)", f"{model.name}.bak"):
        shutil.copytree(model, model.parent / copy)
    (store.root / "lost+found").mkdir()
    (store.root / ".DS_Store").write_text("")
    (store.root / "notes.txt").write_text("")
    assert store.refs() == before
    assert len(store.survey().copies) == 6
    assert store.survey().broken == []
    assert store.find(model.name[:12]) == ArtifactRef(kind="model", version=model.name)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a manifest: Invalid JSON"),
        ("{}", "is not a manifest: version: Field required"),
        ("[" * 100_000, "is not a manifest"),
        (None, "has no readable"),
        ("pipe", "is a pipe, expected a plain file"),
        ("link", "is a link, expected a plain file"),
        ("other", "its manifest is of edit"),
    ],
)
def test_a_broken_manifest_hides_no_other_artifact(store, tmp_path, text, reason):
    (broken,) = (ref for ref in store.refs() if ref.kind == "model")
    manifest = store.path(broken) / "manifest.json"
    content = manifest.read_text()
    manifest.unlink()
    if text == "pipe":
        os.mkfifo(manifest)
    elif text == "link":
        (tmp_path / "kept").write_text(content)
        manifest.symlink_to(tmp_path / "kept")
    elif text == "other":
        other = next(store.path(ref) for ref in store.refs() if ref.kind == "edit")
        shutil.copyfile(other / "manifest.json", manifest)
    elif text is not None:
        manifest.write_text(text)
    assert [ref.kind for ref in store.refs()] == ["edit", "scores"]
    (item,) = store.survey().broken
    assert item.ref == broken
    assert reason in item.problem
    assert store.find(broken.version[:12]) == broken
    with pytest.raises(ArtifactError, match=reason):
        store.check(broken)


@pytest.mark.parametrize("linked", ["file", "folder", "artifact", "kind"])
def test_a_link_to_the_very_same_bytes_is_refused(store, tmp_path, linked):
    def write(build):
        write_two(build)
        (build.folder / "sub").mkdir()
        (build.folder / "sub" / "c.txt").write_text("third")

    made = store.materialise(recipe_of(kind="report"), write, CONTEXT)
    kinds = {"file": "a.txt", "folder": "sub", "artifact": ".", "kind": ".."}
    place = (made.path / kinds[linked]).resolve()
    shutil.move(place, tmp_path / "outside")
    place.symlink_to(tmp_path / "outside")
    with pytest.raises(ArtifactError, match="is a link"):
        list(verify_lineage(store, made.ref))
    with pytest.raises(ArtifactError, match="is a link"):
        store.materialise(recipe_of(kind="report"), write, CONTEXT)


def test_an_artifact_with_a_pipe_in_it_is_refused_without_waiting(store):
    ref = store.refs()[0]
    (store.path(ref) / "a.txt").unlink()
    os.mkfifo(store.path(ref) / "a.txt")
    with pytest.raises(ArtifactError, match=r"file a\.txt in .* is a pipe"):
        store.check(ref)


def test_a_manifest_that_leads_back_to_itself_ends(store):
    ref = store.refs()[0]
    path = store.path(ref) / "manifest.json"
    forge(path, lambda content: content["recipe"].update(inputs={"scores": ref.model_dump()}))
    with pytest.raises(ArtifactError, match="is made of itself"):
        list(lineage_lines(store, ref))


def test_of_many_artifacts_those_that_are_there_are_told_at_once(store, tmp_path):
    there = store.refs()
    absent = ArtifactRef(kind="edit", version="0" * 64)
    elsewhere = ArtifactRef(kind="never_made", version="1" * 64)
    asked = [*there, absent, elsewhere]
    assert store.held(asked) == {*there} == {ref for ref in asked if store.holds(ref)}
    assert Store(tmp_path / "nowhere").held(asked) == set()
    kind = store.root / "edit"
    shutil.rmtree(kind)
    kind.write_text("no folder")
    assert (
        store.held(asked) == {ref for ref in asked if store.holds(ref)} == {ref for ref in there if ref.kind != "edit"}
    )
