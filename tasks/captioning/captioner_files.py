"""A captioner by value: any process that reaches its files can open it; what it is asked is known without its weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch

from data_specs.captioning import CaptioningConfig
from data_specs.errors import SpecError
from data_specs.judging import WordsJudge
from tasks.captioning.captioner import (
    Captioner,
    PictureFit,
    captioner_digest,
    captioner_folder,
    load_captioner,
    question_of,
    read_processor,
)
from tasks.lineage.progress import stage


@dataclass(frozen=True)
class CaptionerFiles:
    """A captioner whose files have a digest, wherever they lie, and the question with its template applied."""

    config: CaptioningConfig
    digest: str
    prompt: str

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Itself: weights are read when the first picture is captioned."""
        yield self

    @property
    def fit(self) -> PictureFit:
        """What becomes of a picture before the captioner sees it."""
        return _fit(self.config.model_dump_json())

    def on(self, device: str) -> Captioner:
        """The captioner, read once in a process, which has no more than one at a time.

        Raises:
            SpecError: the files here are unreadable, or of another captioner.
        """
        return _captioner(self.config.model_dump_json(), self.digest, device)


def describe_captioner(config: CaptioningConfig) -> CaptionerFiles:
    """Look at a captioner's files, without its weights but for their digest.

    Raises:
        SpecError: there is none, it is of another kind, or its template cannot hold the question.
    """
    digest = captioner_digest(captioner_folder(config))
    prompt, _ = question_of(read_processor(config), config)
    # Judges are asked about captions, and their instructions are long; what is put into the tower comes later.
    own = config.model_copy(update={"judges": [WordsJudge(kind="words")], "tower": "own"})
    return CaptionerFiles(own, digest, prompt)


@lru_cache(maxsize=1)
def _fit(settings: str) -> PictureFit:
    return PictureFit(read_processor(CaptioningConfig.model_validate_json(settings)).image_processor)


@lru_cache(maxsize=1)
def _captioner(settings: str, digest: str, device: str) -> Captioner:
    config = CaptioningConfig.model_validate_json(settings)
    with stage("load captioner", None, "tensors"):
        captioner = load_captioner(config, torch.device(device))
    if captioner.digest != digest:
        raise SpecError(
            f"captioning.model {config.model} has digest {captioner.digest[:12]} on this machine, expected {digest[:12]}; give"
            " every worker the same files"
        )
    return captioner
