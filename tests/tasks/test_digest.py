import hashlib
import json
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.lineage.digest import canonical_json, describe_files, digest_of, file_sha256, source_digest, text_sha256
from tests.support import ROOT

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(list(value))}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@given(json_values)
def test_canonical_json_says_the_same_and_ignores_the_order_of_keys(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(reversed_keys(value)) == text


def test_canonical_json_has_one_form():
    assert canonical_json({"b": [1, 2.0], "a": "é"}) == '{"a":"é","b":[1,2.0]}'
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            canonical_json({"tau": value})


def test_a_digest_of_named_digests_ignores_their_order():
    assert digest_of({"a": "1", "b": "2"}) == digest_of({"b": "2", "a": "1"})
    assert digest_of({"a": "1", "b": "2"}) != digest_of({"a": "2", "b": "1"})


def test_files_are_described_by_their_bytes_in_name_order(tmp_path):
    (tmp_path / "b.bin").write_bytes(b"abc")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "c.bin").write_bytes(b"")
    found = describe_files(tmp_path, ["b.bin", "a/c.bin"])
    assert [(entry.path, entry.size_bytes) for entry in found] == [("a/c.bin", 0), ("b.bin", 3)]
    assert [entry.sha256 for entry in found] == [hashlib.sha256(b"").hexdigest(), hashlib.sha256(b"abc").hexdigest()]
    assert file_sha256(tmp_path / "b.bin") == hashlib.sha256(b"abc").hexdigest() == text_sha256("abc")


STAGES = ("activations", "scoring", "manipulation", "evaluation")
# Digests of every stage before and after each change of a copied tree.
SCRIPT = """
import json, sys
from pathlib import Path
from tasks.lineage.digest import source_digest

stages = json.loads(sys.argv[1])
def digests():
    source_digest.cache_clear()
    return {stage: source_digest(f"tasks.{stage}") for stage in stages}

found = {"before": digests(), "again": digests()}
for name in json.loads(sys.argv[2]):
    path = Path(name)
    source = path.read_bytes()
    path.write_bytes(source + b"\\n# changed\\n")
    found[name] = digests()
    path.write_bytes(source)
print(json.dumps(found))
"""
REACHED = {
    "tasks/scoring/saliency.py": {"scoring"},
    "tasks/selection/rules.py": {"scoring", "manipulation"},
    "tasks/activations/statistics.py": {"activations"},
    "tasks/encoders/tokens.py": {"activations", "evaluation"},
    "tasks/encoders/architecture.py": set(STAGES),
    "tasks/manipulation/control.py": {"manipulation"},
    "data_specs/schemas.py": {"activations", "scoring", "evaluation"},
    "data_specs/families.py": set(STAGES),
    "tasks/reporting/__init__.py": set(),
    "tasks/lineage/store.py": set(),
}


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    for package in ("data_specs", "tasks"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", SCRIPT, json.dumps(STAGES), json.dumps(list(REACHED))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def test_the_same_source_has_the_same_digest_wherever_it_lies(digests):
    assert digests["before"] == digests["again"]
    assert digests["before"] == {stage: source_digest(f"tasks.{stage}") for stage in STAGES}
    assert len(set(digests["before"].values())) == len(STAGES)


@pytest.mark.parametrize("changed", REACHED)
def test_a_changed_line_changes_the_digest_of_every_stage_that_imports_it_and_no_other(digests, changed):
    differing = {stage for stage in STAGES if digests[changed][stage] != digests["before"][stage]}
    assert differing >= REACHED[changed]
    if changed.startswith(
        ("tasks/scoring", "tasks/activations", "tasks/manipulation", "tasks/reporting", "tasks/lineage")
    ):
        assert differing == REACHED[changed]
