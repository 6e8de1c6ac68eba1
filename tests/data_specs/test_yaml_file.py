import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_specs.errors import SpecError
from data_specs.yaml_file import LARGEST_BYTES, read_yaml


def read(folder, content):
    path = folder / "run.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(path)


def doubling(first, line, n=9):
    """Lines that each name the one before nine times."""
    return "".join([first, *(line.format(at, ",".join([f"*a{at - 1}"] * 9)) for at in range(1, n))])


REFUSED = {
    "repeated lists": (
        doubling("a0: &a0 [x,x,x]\n", "a{0}: &a{0} [{1}]\n"),
        "holds more than 100000 values, those that",
    ),
    "repeated merges": (doubling("a0: &a0 {x: 1}\n", "a{0}: &a{0} {{<<: [{1}]}}\n"), "holds more than 100000 values"),
    "deep lists": ("a: " + "[" * 900 + "]" * 900, "values are nested more than 20 deep"),
    "deep mappings": ("".join(f"{' ' * at}a:\n" for at in range(900)), "values are nested more than 20 deep"),
    "brackets alone": ("[" * 500_000, "values are nested more than 20 deep"),
    "deep by aliases": (
        "a0: &a0 [x]\n" + "".join(f"a{at}: &a{at} [*a{at - 1}]\n" for at in range(1, 500)),
        "values are nested more than 20 deep by aliases",
    ),
    "list in itself": ("a: &a [*a]", r"\*a stands inside of what it names \(line 1, column 8\)"),
    "mapping in itself": ("a: &a {b: {c: *a}}", r"\*a stands inside of what it names"),
    "unknown alias": ("a: *" + "b" * 5000, "found undefined alias 'bbbb"),
    "no number": ("a: !!int foo", r"a value cannot be read \(ValueError: invalid literal"),
    "nothing as number": ("a: !!int ''", "a value cannot be read"),
    "no truth": ("a: !!bool foo", "a value cannot be read"),
    "no list": ("a: !!seq foo", "expected a sequence node, but found scalar"),
    "binary": ("a: !!binary aGk=", "tag '!!binary' is not taken; leave it out"),
    "timestamp": ("a: !!timestamp foo", "tag '!!timestamp' is not taken"),
    "set": ("a: !!set {x}", "tag '!!set' is not taken"),
    "long tag": ("a: !" + "x" * 5000 + " 1", "tag '!xxxx"),
    "5,000 digits": ("a: " + "9" * 5000, "a whole number of 5000 digits is out of every bound"),
    "5,000 hexadecimal digits": ("a: 0x" + "f" * 5000, "a whole number of 5002 digits is out of every bound"),
    "NUL": ("a: \0", "character 0x0 at position 3 is not allowed"),
    "escape": ("a: \x1b[31mred", "character 0x1b at position 3 is not allowed"),
    "two documents": ("a: 1\n---\nb: 2\n", r"a second document begins; expected one \(line 2"),
    "number as key": ("1: 2", "key '1' is not text; put it in quotes"),
    "yes as key": ("yes: 2", "key 'yes' is not text; put it in quotes"),
    "null as key": ("? \n: 2", "key '' is not text"),
    "list as key": ("? [a]\n: 2", "key a list or mapping is not text"),
    "key twice": ('"\\e[31m": 1\n"\\e[31m": 2', r"key '\\x1b\[31m' is given twice \(line 2, column 1\)"),
    "merge of a number": ("a: {<<: 5}", "expected a mapping or list of mappings for merging"),
    "half a character": (r'a: "\ud800"', r"'\\ud800' holds half a character \(line 1"),
    "tab": ("a:\n\t- b", r"found character '\\t' that cannot start any token"),
    "UTF-16": ("a: 1".encode("utf-16"), "it is UTF-16, expected UTF-8; save it as UTF-8"),
    "Latin-1": ("a: é".encode("latin-1"), "it is not UTF-8 "),
    "large": (b"#" * (LARGEST_BYTES + 1), "it is larger than 1048576 bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_settings_cannot_be_is_refused_soon_and_in_one_short_line(tmp_path, case):
    content, words = REFUSED[case]
    start = time.process_time()
    with pytest.raises(SpecError, match=words) as caught:
        read(tmp_path, content)
    assert time.process_time() - start < 60
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 400 + len(str(tmp_path))


def test_texts_that_look_like_something_else_are_the_texts_that_were_written(tmp_path):
    plain = "[2024-01-01, 2024-01-01 10:00:00, 1:30, 1:30:15, 007, =, 1.2.3, 1e, _1, .]"
    assert read(tmp_path, plain) == plain.strip("[]").split(", ")


def test_numbers_truths_and_nulls_are_read_as_people_write_them(tmp_path):
    numbers = read(tmp_path, "[1e-1, 1E5, 1.5e+3, -.5, 1., 8_192, +3, 0x1F, 0, -0, .inf, !!float 1, !!str 1]")
    assert numbers == [0.1, 1e5, 1500.0, -0.5, 1.0, 8192, 3, 31, 0, 0, float("inf"), 1.0, "1"]
    assert read(tmp_path, "[yes, No, on, OFF, true, False, ~, null, ]") == [
        True,
        False,
        True,
        False,
        True,
        False,
        None,
        None,
    ]
    assert str(read(tmp_path, ".nan")) == "nan"


def test_on_is_a_word_where_it_is_a_key(tmp_path):
    assert read(tmp_path, "{on: [failed], ways: {on: on}}") == {"on": ["failed"], "ways": {"on": True}}


def test_a_byte_order_mark_and_merged_keys_are_taken(tmp_path):
    assert read(tmp_path, "\ufeffa: 1") == {"a": 1}
    merged = read(tmp_path, "a: &a {x: 1}\nt: {u: &b {<<: *a, x: 2}}\nc: {<<: *b}\n")
    assert (merged["t"]["u"], merged["c"]) == ({"x": 2}, {"x": 2})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_json_is_read_as_json(tmp_path, value):
    assert read(tmp_path, json.dumps(value)) == value


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text("ab1 -:[]{},&*!|>?#%@`\"'\\\n\t\0é.~=<e", max_size=60) | st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path, content):
    try:
        read(tmp_path, content)
        refusal = ""
    except SpecError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 400 + len(str(tmp_path))
