from hypothesis import given
from hypothesis import strategies as st

from data_specs.wording import one_line, printable, shown


def test_short_values_are_shown_as_python_writes_them():
    for value in (None, True, 0.5, "a'b", b"\x00", ["x", {"a": (1, 2)}], {"a": [1]}, "\x1b[31m", "\u202e"):
        assert shown(value) == repr(value)


def test_long_values_are_cut_without_being_written_out():
    assert shown("x" * 10**6) == "'" + "x" * 78 + "…"
    assert shown({"bytes": b"\xff" * 10**6, "path": None}).startswith("{'bytes': b'\\xff")
    nested = []
    nested.append(nested)
    for value in (list(range(10**5)), nested, [[[[[[[[1] * 99] * 99] * 99] * 99] * 99] * 99] * 99]):
        assert len(shown(value)) <= 80
    assert shown(10**5000) == "int too large to show"


@given(st.text())
def test_nothing_unprintable_is_shown(text):
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    assert one_line(text).isprintable()
    assert len(shown(text)) <= 80


def test_a_line_escapes_what_steers_a_terminal_or_turns_text_and_is_cut():
    assert printable("a\x1b[2J\x9b\u202e\u2066é🙂") == "a\\x1b[2J\\x9b\\u202e\\u2066é🙂"
    assert one_line("a\n  b\tc\u2028d") == "a b c d"
    assert len(one_line("x " * 10**6)) == 1000
