"""Names are data: how each text format shows them as they are."""

import re
from collections.abc import Iterable, Sequence

# Beside markup what readers make links of: mentions, addresses and the colon of names of emoji.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$@]|:(?=\S)|(?<=www)\.)", re.IGNORECASE)
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# Brackets and stars are letters anywhere but after a line's end, where LaTeX takes them for its options.
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",
        "]": "{]}",
        "*": "{*}",
        '"': "''",
        "–": "--",
        "−": "$-$",
    }
)


class Plain(str):
    """A cell that the program wrote itself and that needs no escapes, such as a figure with its interval."""


def escape_markdown(text: object) -> str:
    """A value as one line of GitHub's Markdown: no markup, link, cell or HTML can come out of it."""
    return _MARKDOWN.sub(r"\\\1", _printable_line(str(text)).translate(_HTML))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table; every cell of the rows is escaped but plain ones, the header is not."""
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for row in rows:
        cells = [cell if isinstance(cell, Plain) else escape_markdown(cell) for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def escape_latex(text: str) -> str:
    """Text for a cell or a paragraph of LaTeX."""
    return _printable_line(text).translate(_LATEX)


def _printable_line(text: str) -> str:
    # What cannot be printed turns text around or hides it.
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
