"""Signatures: what is made is signed with a local key, others can check it, and what is not signed is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_specs.errors import ArtifactError, DataError, SpecError
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import file_sha256, recipe_ref
from tasks.lineage.dropping.discarding import discard
from tasks.lineage.dropping.pruning import prune
from tasks.lineage.progress import Notices, listening
from tasks.lineage.store import Store
from tasks.lineage.trust.keys import private_key_id, public_key_id, public_keys
from tasks.lineage.trust.log_check import check_log
from tasks.lineage.trust.signatures import Signer, TrustedKeys
from tests.cases.keys import make_keys
from tests.cases.recipes import recipe_of, write_two

CONTEXT = RunContext()
REF = recipe_ref(recipe_of())


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path / "keys")


@pytest.fixture
def around(monkeypatch, keys):
    """Says which keys the environment names."""

    def name(sign=None, trust=None):
        for variable, value in (("UWM_SIGNING_KEY", sign), ("UWM_TRUSTED_KEYS", trust)):
            if value is None:
                monkeypatch.delenv(variable, raising=False)
            else:
                monkeypatch.setenv(variable, str(value))

    name()
    return name


def signatures(root):
    return sorted(root.glob(f".signatures/{REF.kind}/{REF.version}/*.sig"))


def make(root, write=write_two):
    return Store(root).materialise(recipe_of(), write, CONTEXT)


def model_signing(*words):
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, words)], capture_output=True, text=True, check=False
    )


def test_what_is_made_is_signed_outside_its_folder_and_the_signature_is_of_its_manifest(tmp_path, keys, around):
    private, public = keys
    around(sign=private)
    made = make(tmp_path)
    (path,) = signatures(tmp_path)
    assert path.name == f"{public_key_id(public)[:16]}.sig"
    assert sorted(file.name for file in made.path.iterdir()) == ["a.txt", "b.txt", "manifest.json"]
    assert TrustedKeys(public_keys([public])).require_signed(tmp_path, made.ref, made.path) == public_key_id(public)
    assert check_log(tmp_path).faults == []


@pytest.mark.slow
def test_model_signings_own_command_finds_the_signature_good_and_a_changed_manifest_bad(tmp_path, keys, around):
    around(sign=keys[0])
    manifest = make(tmp_path).path / "manifest.json"
    (path,) = signatures(tmp_path)
    words = ["verify", "key", manifest, "--signature", path, "--public_key", keys[1]]
    assert model_signing(*words).returncode == 0
    manifest.write_text(manifest.read_text().replace("cpu", "gpu"))
    assert model_signing(*words).returncode != 0


def test_with_trusted_keys_what_they_signed_is_used_and_else_refused(tmp_path, keys, around):
    own, others = keys, make_keys(tmp_path / "others")
    around(sign=own[0])
    make(tmp_path)
    around(trust=own[1])
    assert make(tmp_path).reused
    around(trust=others[1])
    with pytest.raises(
        ArtifactError, match=r"scores \w{12} is signed by none of the keys that are trusted; trusted are key"
    ):
        make(tmp_path)
    around(trust=f"{others[1]}:{own[1]}")
    assert make(tmp_path).reused
    shutil.rmtree(tmp_path / ".signatures")
    with pytest.raises(ArtifactError, match=r"scores \w{12} is not signed; .* sign it \(`uwm sign`\)"):
        make(tmp_path)
    around()
    assert make(tmp_path).reused


def test_a_figure_that_was_rewritten_with_its_digest_is_refused(tmp_path, keys, around):
    def write(build):
        (build.folder / "metrics.json").write_text('{"GS": 40.0}')

    around(sign=keys[0])
    made = make(tmp_path, write)
    figures, manifest = made.path / "metrics.json", made.path / "manifest.json"
    before = file_sha256(figures)
    figures.write_text('{"GS": 80.0}')
    manifest.write_text(manifest.read_text().replace(before, file_sha256(figures)))
    around(trust=keys[1])
    with pytest.raises(ArtifactError):
        make(tmp_path, write)


def test_a_signature_of_another_artifact_does_not_serve(tmp_path, keys, around):
    around(sign=keys[0])
    store = Store(tmp_path)
    other = store.materialise(recipe_of(settings={"tau": 0}), write_two, CONTEXT)
    made = make(tmp_path)
    (path,) = signatures(tmp_path)
    (stranger,) = tmp_path.glob(f".signatures/{other.ref.kind}/{other.ref.version}/*.sig")
    shutil.copyfile(stranger, path)
    around(trust=keys[1])
    with pytest.raises(ArtifactError, match=rf"is not what key {public_key_id(keys[1])[:16]} has signed"):
        make(tmp_path)
    assert made.path.is_dir()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"verificationMaterial": 1}', "\udcff"])
def test_a_file_that_is_no_signature_is_none(content, tmp_path, keys, around):
    around(sign=keys[0])
    make(tmp_path)
    signatures(tmp_path)[0].write_text(content, errors="surrogateescape")
    around(trust=keys[1])
    with pytest.raises(ArtifactError, match="signed by none of the keys that are trusted"):
        make(tmp_path)


def test_a_signature_that_names_a_trusted_key_and_is_another_keys_is_refused(tmp_path, keys, around):
    forger = make_keys(tmp_path / "forger")
    around(sign=forger[0])
    make(tmp_path)
    (path,) = signatures(tmp_path)
    bundle = json.loads(path.read_text())
    bundle["verificationMaterial"]["publicKey"]["hint"] = public_key_id(keys[1])
    path.write_text(json.dumps(bundle))
    around(trust=keys[1])
    with pytest.raises(ArtifactError, match=r"is not what key .* has signed .* its signature does not fit"):
        make(tmp_path)


def test_any_flipped_bit_of_the_signed_payload_is_found(tmp_path, keys, around):
    around(sign=keys[0])
    made = make(tmp_path)
    (path,) = signatures(tmp_path)
    data = path.read_bytes()
    start = data.index(b'"payload":"') + len(b'"payload":"')
    trusted = TrustedKeys(public_keys([keys[1]]))
    for place in range(start, start + 600, 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ArtifactError):
            trusted.require_signed(tmp_path, made.ref, made.path)


def test_what_a_run_made_itself_it_may_use_and_is_told_that_others_will_not(tmp_path, keys, around):
    around(trust=keys[1])
    store, heard = Store(tmp_path, hash_once=True), Notices()
    with listening(heard):
        made = store.materialise(recipe_of(), write_two, CONTEXT)
        store.materialise(recipe_of(settings={"tau": 0}), write_two, CONTEXT)
    assert store.check(made.ref)
    assert heard.texts == [
        "UWM_SIGNING_KEY names no key, but UWM_TRUSTED_KEYS: what this run makes will be refused where they are asked for"
    ]
    with pytest.raises(ArtifactError, match="is not signed"):
        make(tmp_path)


def test_a_key_that_cannot_sign_ends_the_run_before_anything_is_computed(tmp_path, keys, around):
    def never(_build):
        raise DataError("computed")

    nowhere, public = tmp_path / "nowhere.pem", keys[1]
    for key, said in ((nowhere, "cannot read the key"), (public, "is no private key that can be opened")):
        around(sign=key)
        with pytest.raises(SpecError, match=said):
            make(tmp_path, never)
    around(trust=keys[0])
    with pytest.raises(SpecError, match="is no public key in PEM"):
        make(tmp_path, never)
    (tmp_path / "empty").mkdir()
    around(trust=tmp_path / "empty")
    with pytest.raises(SpecError, match="there is no public key in"):
        make(tmp_path, never)


def test_an_encrypted_key_needs_its_password(tmp_path, around, monkeypatch):
    private, public = make_keys(tmp_path / "sealed", password="s3cret")
    around(sign=private)
    with pytest.raises(SpecError, match="the password in UWM_SIGNING_PASSWORD"):
        make(tmp_path)
    monkeypatch.setenv("UWM_SIGNING_PASSWORD", "wrong")
    with pytest.raises(SpecError, match="the password in UWM_SIGNING_PASSWORD"):
        make(tmp_path)
    monkeypatch.setenv("UWM_SIGNING_PASSWORD", "s3cret")
    made = make(tmp_path)
    assert TrustedKeys(public_keys([public])).require_signed(tmp_path, made.ref, made.path)
    assert private_key_id(private) == public_key_id(public)


def test_a_folder_of_public_keys_may_be_named(tmp_path, keys, around):
    make_keys(keys[1].parent, "second")
    around(sign=keys[0])
    make(tmp_path)
    (keys[1].parent / "second.pem").unlink()
    keys[0].rename(tmp_path / "key.pem")  # a private one is no public key
    around(trust=keys[1].parent)
    assert make(tmp_path).reused


def test_what_is_discarded_loses_its_signatures(tmp_path, keys, around):
    around(sign=keys[0])
    make(tmp_path)
    discard(Store(tmp_path), REF)
    assert signatures(tmp_path) == []


def test_files_that_were_dropped_come_back_under_a_signed_manifest_only(tmp_path, keys, around):
    def never(_build):
        raise DataError("computed")

    around(sign=keys[0])
    store = Store(tmp_path)
    made = store.materialise(recipe_of(), write_two, CONTEXT)
    assert prune(store, made.ref, "a test") is not None
    around(trust=keys[1])
    signatures(tmp_path)[0].rename(tmp_path / "kept")
    with pytest.raises(ArtifactError, match="is not signed"):
        make(tmp_path, never)
    (tmp_path / "kept").rename(tmp_path / ".signatures" / REF.kind / REF.version / "kept.sig")
    assert not make(tmp_path).reused
    assert make(tmp_path).reused


def test_several_keys_sign_side_by_side(tmp_path, keys, around):
    second = make_keys(tmp_path / "second")
    around(sign=keys[0])
    made = make(tmp_path)
    Signer(second[0]).sign_manifest(tmp_path, made.ref, made.path)
    assert len(signatures(tmp_path)) == 2
    for public in (keys[1], second[1]):
        around(trust=public)
        assert make(tmp_path).reused


def test_a_folder_is_signed_with_all_its_files(tmp_path, keys):
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a")
    (folder / "deep" / "b.bin").write_bytes(b"b")
    assert Signer(keys[0]).sign_folder(folder) == folder / "model.sig"
    trusted = TrustedKeys(public_keys([keys[1]]))
    assert trusted.require_folder_signed(folder) == public_key_id(keys[1])
    for path, content in ((folder / "a.bin", b"x"), (folder / "deep" / "b.bin", b"x"), (Path(folder / "c.bin"), b"c")):
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=path.name):
            trusted.require_folder_signed(folder)
        path.unlink() if before is None else path.write_bytes(before)
    assert trusted.require_folder_signed(folder)
