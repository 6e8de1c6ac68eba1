"""Text as Markdown that shows it, whatever characters it holds."""

import string
from collections.abc import Iterable, Sequence

_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def escaped(text: object) -> str:
    """A value as one line of plain text: no markup, link, table cell or HTML can come out of it."""
    printable = "".join(character if character.isprintable() else " " for character in str(text))
    return "".join(_escaped_character(character) for character in " ".join(printable.split()))


def _escaped_character(character: str) -> str:
    if character in _ENTITIES:
        return _ENTITIES[character]
    return f"\\{character}" if character in string.punctuation else character


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table; every cell of the rows is escaped, the header is not."""
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return [*lines, *(f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows)]
