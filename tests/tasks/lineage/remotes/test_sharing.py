"""Stores that share a remote: what one made, the others find; what is wrong there is never visible here."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from data_specs.errors import ArtifactError
from tasks.lineage.checking.verification import verified
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import file_sha256
from tasks.lineage.dropping.discarding import discard
from tasks.lineage.remotes.remote import Remote
from tasks.lineage.store import Store
from tasks.lineage.trace import lineage_lines
from tests.cases.keys import make_keys
from tests.cases.places import ROOT
from tests.cases.recipes import recipe_of, write_two
from tests.cases.remotes import chain, damage, files_of, made_and_shared, never, payload, run_in, written
from tests.cases.s3_server import BUCKET


@pytest.fixture
def remote(tmp_path):
    return tmp_path / "remote"


@pytest.fixture
def url(remote):
    return f"file://{remote}"


def test_what_one_store_made_another_finds_and_brings_its_files_only_when_they_are_asked_for(tmp_path, url):
    made = made_and_shared(tmp_path / "first", url)
    with run_in(tmp_path / "second", url) as (store, sharing, heard):
        found = chain(store, never)
        assert [item.ref for item in found] == [item.ref for item in made]
        assert [item.manifest for item in found] == [item.manifest for item in made]
        assert all(item.reused and store.holds(item.ref) for item in found)
        assert not any(store.is_here(item.ref) for item in found)
        assert store.path(found[-1].ref) == store.root / "edit" / found[-1].ref.version
        assert files_of(store, found[-1].ref) == files_of(Store(tmp_path / "first"), made[-1].ref)
        assert [store.is_here(item.ref) for item in found] == [False, False, True]
        assert store.check(found[-1].ref) == made[-1].manifest
        sharing.settle(item.ref for item in found)
        told = sharing.told()["remotes"]
    assert told["pulled"] == {"artifacts": 1, "bytes": 11}
    (line,) = (store.root / ".log/log.jsonl").read_text().splitlines()
    assert (json.loads(line)["event"], json.loads(line)["details"]) == ("pulled", {"source": url})
    assert told["pushed"] == {url: {"artifacts": 0, "bytes": 0, "left": 0}}
    assert heard.texts == []


def test_the_same_bytes_lie_in_a_remote_once_and_under_their_digest(tmp_path, url, remote):
    made = made_and_shared(tmp_path / "first", url)
    listed = {entry.sha256 for item in made for entry in item.manifest.files}
    assert {path.name for path in payload(remote)} == listed
    assert all(file_sha256(path) == path.name for path in payload(remote))
    assert len(listed) == 2
    manifests = sorted(path.relative_to(remote).as_posix() for path in remote.glob("[!.]*/*/manifest.json"))
    assert manifests == sorted(f"{item.ref.kind}/{item.ref.version}/manifest.json" for item in made)


def test_an_artifact_is_put_there_after_all_that_it_was_made_of_and_its_manifest_last(tmp_path, s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3.forget()
    made = made_and_shared(tmp_path / "first", f"s3://{BUCKET}/order")
    put = [asked.removeprefix(f"PUT /{BUCKET}/order/") for asked in s3.asked() if asked.startswith("PUT")]
    kinds = [name.split("/")[0] for name in put]
    assert kinds == [".files", ".files", "activations.text", "scores", "edit"]
    with run_in(tmp_path / "second", f"s3://{BUCKET}/order") as (store, _, _):
        s3.forget()
        found = chain(store, never)
        assert not [asked for asked in s3.asked() if ".files" in asked]
        store.path(found[1].ref)
        assert len([asked for asked in s3.asked() if asked.startswith("GET") and ".files" in asked]) == 2
    assert [item.ref for item in found] == [item.ref for item in made]


def test_lineage_goes_back_over_what_is_only_in_a_remote_also_when_none_is_named_later(tmp_path, url):
    made = made_and_shared(tmp_path / "first", url)
    with run_in(tmp_path / "second", url) as (store, _, _):
        store.path(chain(store, never)[-1].ref)
    later = Store(tmp_path / "second")
    lines = [*lineage_lines(later, made[-1].ref)]
    assert [line.split()[1] for line in lines] == ["edit", "scores", "activations.text"]
    assert later.find(made[0].ref.version[:12]) == made[0].ref
    assert not later.holds(made[0].ref)
    with pytest.raises(ArtifactError, match=r"activations\.text .* only its manifest is.*`uwm store pull`"):
        later.path(made[0].ref)


def test_the_first_writer_s_manifest_stays(tmp_path, url, remote):
    made = made_and_shared(tmp_path / "first", url)
    chain(Store(tmp_path / "second"))
    before = {path: path.read_bytes() for path in remote.rglob("*") if path.is_file()}
    again = made_and_shared(tmp_path / "second", url)
    assert all(item.reused for item in again)
    assert [item.manifest == other.manifest for item, other in zip(made, again, strict=True)] == [False] * 3
    assert {path: path.read_bytes() for path in remote.rglob("*") if path.is_file()} == before


def test_two_processes_that_put_the_same_there_at_once_leave_one_sound_artifact(tmp_path, s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    place = f"s3://{BUCKET}/at-once"
    code = (
        "import sys, pathlib\n"
        "from tests.cases.remotes import made_and_shared\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "print(root, flush=True); sys.stdin.readline()\n"
        "made_and_shared(root, sys.argv[2])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / name), place],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT,
        )
        for name in ("one", "two", "three")
    ]  # fmt: skip
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:
        writer.communicate(b"go\n", timeout=600)
        assert writer.returncode == 0
    with run_in(tmp_path / "reader", place) as (store, _, heard):
        found = chain(store, never)
        for item in found:
            store.path(item.ref)
            store.check(item.ref)
    assert heard.texts == []
    written_by = {json.dumps(item.manifest.model_dump(mode="json"), sort_keys=True) for item in found}
    all_made = [
        json.dumps(Store(tmp_path / name).manifest(item.ref).model_dump(mode="json"), sort_keys=True)
        for name in ("one", "two", "three")
        for item in found
    ]
    assert written_by <= {*all_made}


def test_what_came_out_otherwise_here_is_not_put_beside_another_s_nor_what_was_made_of_it(tmp_path, url):
    made = made_and_shared(tmp_path / "first", url)
    other = Store(tmp_path / "gpu")
    scores = recipe_of("scores", inputs={"made_of": made[0].ref})
    edit = recipe_of("edit", settings={"alpha": 0}, inputs={"made_of": made[1].ref})
    other.materialise(recipe_of("activations.text"), write_two, RunContext())
    other.materialise(scores, written("a.txt", b"otherwise"), RunContext())
    with run_in(tmp_path / "gpu", url) as (store, sharing, heard):
        assert store.materialise(scores, never, RunContext()).reused
        of_it = store.materialise(edit, write_two, RunContext())
        sharing.settle([of_it.ref])
    assert [text for text in heard.texts if text.startswith("2 artifacts are not put into")]
    assert Remote(url).manifest(of_it.ref) is None
    assert Remote(url).manifest(made[1].ref)[0] == made[1].manifest


def test_what_was_made_of_another_s_input_is_made_here_from_the_own_one(tmp_path, url):
    made = made_and_shared(tmp_path / "first", url)
    own = Store(tmp_path / "second")
    own.materialise(recipe_of("activations.text"), write_two, RunContext())
    own.materialise(recipe_of("scores", inputs={"made_of": made[0].ref}), written("a.txt", b"otherwise"), RunContext())
    with run_in(tmp_path / "second", url) as (store, _, heard):
        found = chain(store)
    assert [item.reused for item in found] == [True, True, False]
    assert [text for text in heard.texts if "it was made of another scores" in text]


def test_signatures_come_along_and_what_was_put_there_unsigned_is_refused_where_keys_are_trusted(
    tmp_path, url, monkeypatch
):
    private, public = make_keys(tmp_path / "keys")
    monkeypatch.setenv("UWM_SIGNING_KEY", str(private))
    made = made_and_shared(tmp_path / "first", url)
    monkeypatch.delenv("UWM_SIGNING_KEY")
    monkeypatch.setenv("UWM_TRUSTED_KEYS", str(public))
    with run_in(tmp_path / "second", url) as (store, _, _):
        found = chain(store, never)
        store.path(found[1].ref)
        assert store.check(found[1].ref) == made[1].manifest
    shutil.rmtree(tmp_path / "remote/.signatures")
    with run_in(tmp_path / "third", url) as (store, _, _), pytest.raises(ArtifactError, match="is not signed"):
        chain(store, never)


def test_of_two_remotes_the_first_that_has_it_gives_it_and_both_are_given_what_is_made(tmp_path):
    urls = [f"file://{tmp_path}/{name}" for name in ("near", "far")]
    made = made_and_shared(tmp_path / "first", urls[1])
    with run_in(tmp_path / "second", *urls) as (store, sharing, _):
        found = chain(store, never)
        more = store.materialise(recipe_of("model"), write_two, RunContext())
        for item in found:
            store.path(item.ref)
        sharing.settle(item.ref for item in [*found, more])
        pushed = sharing.told()["remotes"]["pushed"]
    assert [pushed[url]["artifacts"] for url in urls] == [4, 1]
    assert [Remote(url).manifest(more.ref)[0] for url in urls] == [more.manifest] * 2
    damage(tmp_path / "near", "truncated")
    with run_in(tmp_path / "third", *urls) as (store, _, heard):
        assert store.check(chain(store, never)[-1].ref).files == made[-1].manifest.files
    assert heard.texts == []


def test_what_is_discarded_before_its_turn_is_not_missed(tmp_path, url):
    with run_in(tmp_path / "first", url) as (store, sharing, heard):
        part = store.materialise(recipe_of("activations.text.part"), write_two, RunContext())
        discard(store, part.ref)
        made = store.materialise(recipe_of("activations.text.joined"), write_two, RunContext())
        sharing.settle([made.ref])
        assert sharing.told()["remotes"]["pushed"][url]["left"] == 0
    assert heard.texts == []
    assert Remote(url).manifest(made.ref) is not None


def test_what_is_in_a_remote_only_is_verified_by_its_manifest_and_a_change_of_that_is_found(tmp_path, url):
    made = made_and_shared(tmp_path / "first", url)
    with run_in(tmp_path / "second", url) as (store, _, _):
        store.path(chain(store, never)[-1].ref)
    later = Store(tmp_path / "second")
    found = [*verified(later, [made[-1].ref])]
    assert [(item.ref, item.elsewhere, item.faults) for item in found] == [
        (item.ref, at < 2, []) for at, item in enumerate(made)
    ]
    kept = later.manifest_folder(made[0].ref) / "manifest.json"
    kept.write_text(kept.read_text().replace('"device": "cpu"', '"device": "gpu"'))
    faults = [fault for item in verified(later, [made[-1].ref]) for fault in item.faults]
    assert {fault.wrong for fault in faults} == {"changed"}
    assert {fault.artifact for fault in faults} == {made[0].ref}
