import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.lineage.digest import canonical_json, describe_files, digest_of, file_sha256, text_sha256

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
