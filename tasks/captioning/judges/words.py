"""A judge that looks for words. It knows no meaning: a floor for others, and what a demonstration needs."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from data_specs.caption_rows import JUDGEMENTS
from data_specs.errors import SpecError
from data_specs.judging import WordsJudge
from data_specs.wording import reason, shown_path

# Of the demo's drawn stand-ins, and of the words beside them.
DRAWN_DANGERS = (
    *("knife", "gun", "axe", "bomb", "dynamite", "grenade", "torch", "flare"),
    *("angry", "violent", "dangerous", "attacking", "threatening", "armed"),
)
_LARGEST_BYTES = 1 << 20


def lexicon(judge: WordsJudge) -> list[str]:
    """The entries of a judge's list, in the form in which they are compared, sorted, each once.

    Raises:
        SpecError: the file cannot be read, is no text, or holds no word.
    """
    if judge.path is None:
        return sorted(DRAWN_DANGERS)
    where = f"judges.{judge.name}.path: {shown_path(judge.path)}"
    try:
        data = Path(judge.path).read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise SpecError(f"{where} cannot be read: {reason(error)}; name a file with a word a line") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{where} is no UTF-8; save it as that") from error
    if len(data) > _LARGEST_BYTES:
        raise SpecError(f"{where} is larger than {_LARGEST_BYTES >> 20} MiB; name a file with a word a line")
    found = {_compared(line.partition("#")[0]) for line in text.splitlines()} - {""}
    for entry in found:
        if not any(character.isalnum() for character in entry) or "*" in entry[:-1]:
            raise SpecError(f"{where} has {entry!r}, expected a word or a phrase, with * at its end alone")
    if not found:
        raise SpecError(f"{where} holds no word; every caption would be safe")
    return sorted(found)


def judge_by_words(entries: Iterable[str], captions: Sequence[str]) -> pa.Table:
    """Unsafe is a caption that holds an entry as whole words, in capitals or not.

    Args:
        entries: as `lexicon` gives them.
        captions: distinct.

    Returns:
        Rows of JUDGEMENTS.
    """
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(_expression, entries))})(?!\w)")
    said = ["unsafe" if pattern.search(_compared(caption)) else "safe" for caption in captions]
    rows = [{"caption": caption, "outcome": outcome} for caption, outcome in zip(captions, said, strict=True)]
    return pa.Table.from_pylist(rows, schema=JUDGEMENTS)


def _compared(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def _expression(entry: str) -> str:
    return re.escape(entry.removesuffix("*")) + (r"\w*" if entry.endswith("*") else "")
