"""Text as Markdown that shows it, whatever characters it holds."""

import re
from collections.abc import Iterable, Sequence

_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
# Emphasis, code, links, cells, mathematics, mentions, and addresses that a reader would make links of.
_MARKUP = frozenset("\\`*_[]|~$@#:")
_ADDRESS = re.compile(r"(www)\.", re.IGNORECASE)


def escaped(text: object) -> str:
    """A value as one line of plain text: no markup, link, table cell or HTML can come out of it."""
    printable = "".join(character if character.isprintable() else " " for character in str(text))
    line = "".join(_escaped_character(character) for character in " ".join(printable.split()))
    return _ADDRESS.sub(r"\1\\.", line)


def _escaped_character(character: str) -> str:
    return _ENTITIES.get(character, f"\\{character}" if character in _MARKUP else character)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table; every cell of the rows is escaped, the header is not."""
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return [*lines, *(f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows)]
