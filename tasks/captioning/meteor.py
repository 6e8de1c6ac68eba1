"""METEOR by nltk, which needs a WordNet: nltk's own, Debian's, or a folder that the settings name."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from data_specs.errors import SpecError
from data_specs.wording import first_line, one_line, shown_path

AUTO_WORDNET = "auto"
_DEBIAN = Path("/usr/share/wordnet")
_HOW = "get it by `python -m nltk.downloader wordnet`, or name a folder of WordNet 3.0 as text_metrics.wordnet"


@dataclass(frozen=True)
class Meteor:
    """The metric with its WordNet; called with a caption and a reference, it gives 0 to 1."""

    wordnet: str  # digest of its files
    score: Callable[[str, str], float]


@dataclass(frozen=True)
class NoMeteor:
    """Why there is none."""

    reason: str


@cache
def open_meteor(wordnet: str = AUTO_WORDNET) -> Meteor | NoMeteor:
    """Open WordNet, which takes some seconds.

    Args:
        wordnet: `auto`, or a folder with WordNet's files.

    Returns:
        The metric; of `auto` why there is none, where no WordNet is found.

    Raises:
        SpecError: a folder was named that holds no WordNet that nltk reads.
    """
    if wordnet != AUTO_WORDNET:
        return _opened(Path(wordnet))
    try:
        from nltk.corpus import wordnet as own

        own.ensure_loaded()
        return _metric(own)
    except LookupError:
        pass
    except Exception as error:  # see `_opened`
        return NoMeteor(f"nltk cannot read its WordNet: {one_line(first_line(error), 120)}; {_HOW}")
    if not _DEBIAN.is_dir():
        return NoMeteor(f"there is no WordNet on this machine; {_HOW}")
    try:
        return _opened(_DEBIAN)
    except SpecError as error:
        return NoMeteor(str(error))


def _opened(folder: Path) -> Meteor:
    from nltk.corpus import WordNetCorpusReader
    from nltk.data import path as trusted

    # The reader would map synsets to those of nltk's own WordNet, for other languages, and fail where there is none.
    english = type("English", (WordNetCorpusReader,), {"map_wn": lambda _self, _version="wordnet": None})
    place = folder.resolve()
    lacking = [name for name in ("lexnames", "index.noun", "data.noun") if not (place / name).is_file()]
    if lacking:
        raise SpecError(f"text_metrics.wordnet: {shown_path(folder)} lacks {', '.join(lacking)}; {_HOW}")
    if b"\r\n" in (place / "index.noun").open("rb").read(4096):
        raise SpecError(
            f"text_metrics.wordnet: the files in {shown_path(folder)} have lines that end in CR LF, by which nltk finds no"
            " entry; take the CR out of them"
        )
    if str(place) not in trusted:  # nltk opens nothing elsewhere
        trusted.append(str(place))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of languages other than English
            return _metric(english(str(place), None))
    except Exception as error:  # nltk's parser raises what it happens to meet
        raise SpecError(
            f"text_metrics.wordnet: nltk cannot read {shown_path(folder)}: {one_line(first_line(error), 120)}; {_HOW}"
        ) from error


def _metric(reader: Any) -> Meteor:
    from nltk.translate.meteor_score import single_meteor_score

    def score(caption: str, reference: str) -> float:
        # Words between blanks, as the paper's code has them; nltk lowers and stems them.
        return float(single_meteor_score(reference.split(), caption.split(), wordnet=reader))

    return Meteor(_digest(reader), score)


def _digest(reader: Any) -> str:
    hasher = sha256()
    for name in sorted(reader.fileids()):
        try:
            with reader.abspath(name).open() as file:
                content = file.read()
        except OSError:  # of those that nltk would read some are for other uses
            continue
        hasher.update(f"{name} {len(content)} ".encode() + content)
    return hasher.hexdigest()
