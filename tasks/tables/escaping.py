"""Names are data: how each text format shows them as they are."""

import re

_SPACE = re.compile(r"\s+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
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


def escape_markdown(text: str) -> str:
    """Text for a cell or a paragraph of GitHub's Markdown."""
    return _MARKDOWN.sub(r"\\\1", _one_line(text).translate(_HTML))


def escape_latex(text: str) -> str:
    """Text for a cell or a paragraph of LaTeX."""
    return _one_line(text).translate(_LATEX)


def _one_line(text: str) -> str:
    return _CONTROL.sub("", _SPACE.sub(" ", text)).strip()
