"""An audit bundle: what is in it, that it checks itself with nothing but Python, and that it finds whatever was changed."""

import ast
import errno
import json
import os
import random
import shutil
import sys
import zipfile

import pytest

from data_specs.errors import ArtifactError, SpecError
from tasks.auditing import bundle_check
from tasks.auditing.bundle import write_bundle
from tasks.lineage.store import Store
from tasks.lineage.trust.signatures import Signer
from tests.cases.bundles import small_chain, unpacked, verified
from tests.cases.keys import make_keys


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store, the last of its chain, and its bundle, which tests copy: each bundle tells of all that is installed."""
    folder = tmp_path_factory.mktemp("made")
    store, ref = small_chain(folder / "store")
    write_bundle(store, ref, folder / "bundle.zip")
    unpacked(folder / "bundle.zip", folder / "unpacked")
    return folder, ref


@pytest.fixture
def chain(made, tmp_path):
    folder, ref = made
    return Store(shutil.copytree(folder / "store", tmp_path / "store")), ref


@pytest.fixture
def folder(made, chain, tmp_path):
    """An unpacked bundle."""
    shutil.copy(made[0] / "bundle.zip", tmp_path)
    return shutil.copytree(made[0] / "unpacked", tmp_path / "unpacked")


def test_a_bundle_holds_the_manifests_of_the_chain_and_files_of_figures_alone(chain, folder):
    store, ref = chain
    inside = {path.relative_to(folder / "store").as_posix() for path in (folder / "store").rglob("*") if path.is_file()}
    kinds = {item.kind: item.version for item in store.refs()}
    manifests = {f"{kind}/{version}/manifest.json" for kind, version in kinds.items()}
    figures = {f"evaluation/{ref.version}/metrics.json", f"scores/{kinds['scores']}/layer_summary.parquet"}
    assert {name for name in inside if not name.startswith(".")} == manifests | figures
    for name in inside:
        assert (folder / "store" / name).read_bytes() == (store.root / name).read_bytes()
    installed = json.loads((folder / "environment/installed.json").read_text())
    assert installed["python"] == sys.version.split()[0]
    assert len(installed["distributions"]["torch"]["record_sha256"]) == 64


def test_the_script_in_it_needs_the_standard_library_alone_and_finds_nothing_wrong(folder, tmp_path):
    tree = ast.parse((folder / "verify.py").read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    for place in (folder, tmp_path / "bundle.zip"):
        done = verified(folder, str(place), "--store", str(tmp_path / "store"))
        assert (done.returncode, done.stderr) == (0, "")
        assert "files as recorded" in done.stdout


@pytest.mark.slow
def test_the_same_evidence_is_the_same_file(chain, tmp_path):
    store, ref = chain
    for name in ("one.zip", "two.zip"):
        write_bundle(store, ref, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_every_bit_that_is_flipped_in_any_file_is_found_and_the_file_named(folder):
    draw = random.Random(7)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert len(names) > 6
    for name in names * 12:
        path = folder / name
        before = path.read_bytes()
        place = draw.randrange(8 * len(before))
        changed = bytearray(before)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        _, wrong = bundle_check.check_bundle(bundle_check.Bundle(folder))
        assert wrong, (name, place)
        assert name in wrong[0] or name == "index.json", wrong
        path.write_bytes(before)
    assert bundle_check.check_bundle(bundle_check.Bundle(folder))[1] == []


@pytest.mark.slow
def test_signatures_go_along_and_one_of_another_manifest_is_found(chain, tmp_path):
    store, ref = chain
    signer = Signer(make_keys(tmp_path)[0])
    for item in store.refs():
        signer.sign_manifest(store.root, item, store.path(item))
    write_bundle(store, ref, tmp_path / "signed.zip")
    folder = unpacked(tmp_path / "signed.zip", tmp_path / "signed")
    signatures = sorted((folder / "store/.signatures").rglob("*.sig"))
    assert len(signatures) == len(store.refs()) > 1
    done = verified(folder)
    assert (done.returncode, done.stderr) == (0, "")
    # The signature of one beside another, and a list of files that fits it.
    place = store.root / signatures[0].relative_to(folder / "store")
    place.write_bytes(signatures[1].read_bytes())
    with pytest.raises(ArtifactError, match="is of another manifest"):
        write_bundle(store, ref, tmp_path / "forged.zip")


def test_files_that_are_missing_added_swapped_or_renamed_are_found(folder, tmp_path):
    def changed(change):
        copy = tmp_path / "changed"
        shutil.copytree(folder, copy)
        change(copy)
        done = verified(copy)
        shutil.rmtree(copy)
        assert done.returncode == 4
        return done.stderr

    (metrics,) = folder.glob("store/evaluation/*/metrics.json")
    inner = metrics.relative_to(folder)
    (summary,) = (path.relative_to(folder) for path in folder.glob("store/scores/*/layer_summary.parquet"))
    assert f"{inner.as_posix()} is missing" in changed(lambda copy: (copy / inner).unlink())
    assert "more.txt is not listed" in changed(lambda copy: (copy / "more.txt").write_text("?"))
    assert f"{inner.as_posix()} changed" in changed(lambda copy: shutil.copy(copy / summary, copy / inner))
    renamed = changed(lambda copy: (copy / inner).rename(copy / "store/metrics.json"))
    assert "store/metrics.json is not listed" in renamed
    assert f"{inner.as_posix()} is missing" in renamed


def reindexed(folder):
    """Who changes files may write an index that fits."""
    index = json.loads((folder / "index.json").read_text())
    index["files"] = {
        path.relative_to(folder).as_posix(): bundle_check.hex_sha256(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.name != "index.json"
    }
    (folder / "index.json").write_bytes(bundle_check.index_bytes(index))


def test_a_recipe_rewritten_with_its_index_is_found_by_its_version(folder):
    (path,) = folder.glob("store/scores/*/manifest.json")
    path.write_text(path.read_text().replace("0.30000000000000004", "0.3"))
    reindexed(folder)
    done = verified(folder)
    assert done.returncode == 4
    assert f"scores/{path.parent.name}: its recipe has another digest" in done.stderr


def test_a_figure_rewritten_with_its_index_is_found_by_its_manifest(folder):
    (path,) = folder.glob("store/evaluation/*/metrics.json")
    path.write_text(path.read_text().replace("40.0", "80.0"))
    reindexed(folder)
    done = verified(folder)
    assert done.returncode == 4
    assert "metrics.json is not as its artifact's manifest says" in done.stderr


def test_a_manifest_taken_out_with_its_index_is_found_as_an_input_that_is_missing(folder):
    (path,) = folder.glob("store/activations.text/*/manifest.json")
    path.unlink()
    reindexed(folder)
    done = verified(folder)
    assert done.returncode == 4
    assert f"its input of, activations.text {path.parent.name[:12]}, is not in the bundle" in done.stderr


def test_the_digest_that_was_written_down_tells_a_bundle_that_was_rewritten_as_a_whole(folder):
    expected = json.loads((folder / "index.json").read_text())["artifact"]["manifest"]
    assert verified(folder, "--artifact", expected).returncode == 0
    done = verified(folder, "--artifact", "0" * 64)
    assert done.returncode == 4
    assert f"has digest {expected[:12]}, expected 000000000000" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.write_bytes(b"other"), "rows.parquet in the store changed"),
        (lambda path: path.unlink(), "rows.parquet is missing from the store"),
        (lambda path: path.with_name("more").write_bytes(b"?"), "more in the store is not in its manifest"),
        (lambda path: (path.rename(path.with_name("moved")), path.symlink_to("moved")), "in the store is a link"),
        (lambda path: shutil.rmtree(path.parent), "is not in the store"),
    ],
)
def test_files_of_a_store_are_hashed_where_one_is_named(chain, folder, change, said):
    store, _ = chain
    (path,) = store.root.glob("activations.text/*/rows.parquet")
    change(path)
    assert verified(folder).returncode == 0
    done = verified(folder, "--store", str(store.root))
    assert done.returncode == 4
    assert said in done.stderr


def test_a_figure_that_is_not_as_recorded_goes_into_no_bundle(chain, tmp_path):
    store, ref = chain
    (store.path(ref) / "metrics.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"metrics\.json is not as its artifact's manifest says"):
        write_bundle(store, ref, tmp_path / "bundle.zip")
    assert not [path for path in tmp_path.iterdir() if path.name != "store"]


def test_a_file_that_is_there_is_not_overwritten_and_a_disk_that_refuses_is_told(chain, tmp_path):
    store, ref = chain
    (tmp_path / "bundle.zip").write_text("mine")
    with pytest.raises(SpecError, match="is there already"):
        write_bundle(store, ref, tmp_path / "bundle.zip")
    assert (tmp_path / "bundle.zip").read_text() == "mine"
    with pytest.raises(SpecError, match=os.strerror(errno.EEXIST)):
        write_bundle(store, ref, tmp_path / "bundle.zip" / "inside.zip")


def test_what_is_no_bundle_is_said_to_be_none(folder, tmp_path):
    (tmp_path / "cut.zip").write_bytes((tmp_path / "bundle.zip").read_bytes()[:5000])
    done = verified(folder, str(tmp_path / "cut.zip"))
    assert done.returncode == 4
    assert "is no bundle" in done.stderr
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "?")
    assert "index.json is missing" in verified(folder, str(tmp_path / "other.zip")).stderr
