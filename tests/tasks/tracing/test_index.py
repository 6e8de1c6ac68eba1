"""The index holds what the manifests hold, whatever became of them since it was last asked for."""

import json
import os
import shutil

import pyarrow.parquet as pq
import pytest

from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.tracing import index as index_module
from tasks.tracing.index import open_index
from tasks.tracing.rows import LISTED, SINGLE, Rows, flattened
from tests.cases.large_store import LargeStore, manifests
from tests.cases.recipes import recipe_of, write_two


@pytest.fixture
def root(tmp_path):
    filled = LargeStore(tmp_path / "store")
    filled.shards = filled.shards[:3]
    filled.fill(60)
    return filled.root


def held(root):
    return sorted(
        zip(*(open_index(root).table().column(name).to_pylist() for name in ("kind", "version")), strict=True)
    )


def there(root):
    return sorted((item["recipe"]["kind"], item["version"]) for item in manifests(root))


def test_every_list_of_every_manifest_is_in_the_index_in_its_order(root):
    index = open_index(root)
    told = {item["version"]: item for item in manifests(root)}
    files, inputs, libraries, modules = (
        flattened(index.table(name), name).to_pylist() for name in ("files", "inputs", "libraries", "modules")
    )
    for version, manifest in told.items():
        own = [
            {key: row[key] for key in ("path", "sha256", "size_bytes")} for row in files if row["version"] == version
        ]
        assert own == manifest["files"]
        assert {row["library"]: row["installed"] for row in libraries if row["version"] == version} == manifest[
            "circumstances"
        ]["libraries"]
        assert {row["module"]: row["digest"] for row in modules if row["version"] == version} == manifest["modules"]
        expected = []
        for role, given in manifest["recipe"]["inputs"].items():
            for position, item in enumerate(given if isinstance(given, list) else [given]):
                artifact = item if isinstance(item, dict) else {}
                digest = item if isinstance(item, str) else None
                expected.append((role, position, artifact.get("kind"), artifact.get("version"), digest))
        fields = ("role", "position", "input_kind", "input_version", "sha256")
        assert [tuple(row[name] for name in fields) for row in inputs if row["version"] == version] == expected


def test_asked_again_nothing_is_read_but_what_changed(root, monkeypatch):
    assert held(root) == there(root)
    read = []
    whole = index_module.read_manifest
    monkeypatch.setattr(index_module, "read_manifest", lambda folder, ref: read.append(ref) or whole(folder, ref))
    assert held(root) == there(root)
    assert read == []
    kept = Store(root).materialise(recipe_of(kind="edit"), write_two, RunContext()).ref
    gone = next((root / "scores").iterdir())
    shutil.rmtree(gone)
    assert held(root) == there(root)
    assert read == [kept]
    assert ("scores", gone.name) not in held(root)


def test_a_manifest_that_was_rewritten_in_place_is_read_again(root):
    open_index(root)
    path = next((root / "edit").iterdir()) / "manifest.json"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"device":"cpu"', b'"device":"gpu"'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    devices = open_index(root).table("device").to_pylist()
    assert [row["device"] for row in devices if row["version"] == path.parent.name] == ["gpu"]


def test_broken_manifests_are_told_and_copies_left_out(root):
    broken = next((root / "edit").iterdir())
    (broken / "manifest.json").write_text("{")
    shutil.copytree(root / "scores", root / "scores.copy")
    missing = next((root / "model").iterdir())
    (missing / "manifest.json").unlink()
    rows = {row["version"]: row for row in open_index(root).table("format").to_pylist()}
    assert "is not a manifest" in rows[broken.name]["problem"]
    assert "has no readable" in rows[missing.name]["problem"]
    assert {row["problem"] for version, row in rows.items() if version not in (broken.name, missing.name)} == {None}
    assert "scores.copy" not in {row["kind"] for row in rows.values()}


@pytest.mark.parametrize("content", [b"", b"PAR1 and more", None])
def test_an_index_that_is_damaged_or_of_other_columns_is_made_anew(root, content):
    open_index(root)
    path = root / ".index/manifests.parquet"
    if content is None:
        pq.write_table(pq.read_table(path).drop_columns(["counts"]), path)
    else:
        path.write_bytes(content)
    assert held(root) == there(root)
    assert pq.read_schema(path).names == [*SINGLE, *LISTED, "modified", "changed", "length", "inode", "is_pruned"]


def test_a_store_that_cannot_be_written_is_read_and_one_that_is_not_there_is_empty(root, tmp_path):
    (root / ".index").write_text("not a folder")
    assert held(root) == there(root)
    assert held(tmp_path / "nowhere") == []
    assert not (tmp_path / "nowhere").exists()


def test_formats_1_and_2_are_read_by_the_same_columns(root):
    first = next(manifests(root))
    second = json.loads(json.dumps(first))
    second |= {
        "format": 2,
        "digest": "d" * 64,
        "weights": [{"location": "w", "sha256": "e" * 64, "size_bytes": 5, "tensors": "f" * 64}],
    }
    second["circumstances"] |= {"host": "h", "records": {"torch": "a" * 64}, "product": "0.1.0"}
    second["inputs"] = {"encoder": [{"kind": "model", "version": "b" * 64, "manifest": "c" * 64, "content": None}]}
    second["recipe"]["inputs"] = {"encoder": "9" * 64}
    rows = Rows()
    ref = Store(root).refs()[0]
    rows.add(ref, json.dumps(second).encode())
    table = rows.table()
    row = table.to_pylist()[0]
    assert (row["format"], row["digest"], row["host"], row["product"]) == (2, "d" * 64, "h", "0.1.0")
    assert flattened(table, "inputs").select(["input_kind", "input_version", "manifest", "sha256"]).to_pylist() == [
        {"input_kind": "model", "input_version": "b" * 64, "manifest": "c" * 64, "sha256": "9" * 64}
    ]
    assert {"what": "weights", "location": "w", "sha256": "e" * 64, "size_bytes": 5, "tensors": "f" * 64} in row[
        "sources"
    ]
    assert {"library": "torch", "installed": "1.0", "record": "a" * 64} in row["libraries"]
