import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_specs.errors import SpecError
from data_specs.json_text import finite_json, parse_json
from tasks.encoders.model_json import read_json

REFUSED = {
    "cut": ('{"a": 1', "Expecting ',' delimiter"),
    "key twice": ('{"a": {"b": 1, "b": 2}}', "key 'b' is given twice"),
    "long key twice": ('{"' + "k" * 9999 + '": 1, "' + "k" * 9999 + '": 2}', "key 'kkk.*… is given twice"),
    "5,000 digits": ('{"a": ' + "9" * 5000 + "}", "a whole number has 5000 digits"),
    "deep": ('{"a":' * 100_000, "it is nested too deep"),
    "NaN": ('{"a": NaN}', "NaN is no number of JSON"),
    "infinity": ('{"a": -Infinity}', "-Infinity is no number of JSON"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_config_that_makes_no_sense_is_refused_in_one_short_line(tmp_path, case):
    text, words = REFUSED[case]
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=f"model.architecture: cannot read .*: {words}") as caught:
        read_json(path, "model.architecture")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_what_python_writes_is_read(value):
    assert parse_json(json.dumps(value)) == value


def test_brackets_in_texts_and_beside_each_other_are_no_depth():
    wide = [{"text": "[{" * 500 + '"' + "\\", "rows": [[1], {}]} for _ in range(500)]
    assert parse_json(json.dumps(wide)) == wide
    assert parse_json(json.dumps(wide).encode("utf-16")) == wide


@pytest.mark.parametrize("text", ['{"a": [' * 1_000, "[1, " * 1_000, b"[" * 1_000, '{"]": [' * 1_000])
def test_what_is_nested_too_deep_is_refused_before_it_is_read(monkeypatch, text):
    monkeypatch.setattr(json, "loads", pytest.fail)
    with pytest.raises(ValueError, match=r"^it is nested too deep$"):
        parse_json(text)


def test_a_table_may_hold_nan_where_nobody_looks():
    assert str(parse_json("[NaN]")) == "[nan]"
    with pytest.raises(ValueError, match="NaN is no number"):
        finite_json("[NaN]")
