"""The Hugging Face hub: asked where it answers, its local cache used where it does not."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from data_specs.errors import SpecError
from data_specs.run_config import HUB
from data_specs.wording import first_line

_TIMEOUT_SECONDS = 5


@contextmanager
def hub_calls() -> Iterator[None]:
    """Let the hub's client fail at once inside, or find files in its cache, where the hub does not answer.

    Left alone, the client tries five times with growing pauses for each file: 46 s until a
    tokenizer is known to be out of reach.
    """
    import huggingface_hub.constants as hub

    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not _hub_answers()
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


@cache
def _hub_answers() -> bool:
    from huggingface_hub import get_session
    from huggingface_hub.constants import ENDPOINT

    try:
        get_session().head(ENDPOINT, timeout=_TIMEOUT_SECONDS)
    except Exception as error:  # the client's errors are those of whichever HTTP library it is built on
        logging.getLogger(__name__).info("the hub at %s does not answer: %s", ENDPOINT, said_by_library(error))
        return False
    return True


def download_files(name: str, patterns: list[str], setting: str) -> Path:
    """The folder that holds the files of a hub repository that match.

    Args:
        name: `hf-hub:ORG/NAME`.
        patterns: globs of the files wanted.
        setting: that the name stands in; named in errors.

    Returns:
        A folder of the hub's cache; it may lack files that the repository does not have.

    Raises:
        SpecError: the hub does not answer and its cache holds nothing, or there is no such repository.
    """
    from huggingface_hub import snapshot_download

    try:
        with hub_calls():
            return Path(snapshot_download(name.removeprefix(HUB), allow_patterns=patterns))
    except Exception as error:  # hub errors have no common base
        raise SpecError(
            f"{setting}: cannot get {name}: {said_by_library(error)}; without the hub, give a local folder with its files"
        ) from error


def said_by_library(error: Exception) -> str:
    """What an error of a library says, in one line; never its advice to trust a model's code."""
    needs_code = "trust_remote_code" in str(error)
    return "it needs Python code of its own, which is never run" if needs_code else first_line(error)
