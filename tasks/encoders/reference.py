"""A model named by value: which files it is of, and what comes out of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING

from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig

if TYPE_CHECKING:
    from tasks.encoders.loading import LoadedModel

# An edit changes the one copy that a process holds, so only one block uses it at a time.
_ONE_AT_A_TIME = RLock()


@dataclass(frozen=True)
class ModelFiles:
    """The model of some settings; `digest` is of its tensors, wherever the files lie."""

    config: ModelConfig
    digest: str

    @contextmanager
    def opened(self) -> Iterator["LoadedModel"]:
        """The model, loaded once in a process.

        Raises:
            SpecError: the files here are unreadable, or of another model.
        """
        with _ONE_AT_A_TIME:
            loaded = _loaded(self.config)
            if loaded.digest != self.digest:
                raise SpecError(
                    f"model.weights {loaded.source} have digest {loaded.digest[:12]} on this machine, expected"
                    f" {self.digest[:12]}; give every worker the same files"
                )
            yield loaded


def require_weights_path(weights: str | None) -> None:
    """Refuse weights that are a path at which nothing lies; a published tag holds no slash.

    Raises:
        SpecError: nothing is there.
    """
    if weights is not None and "/" in weights and not os.path.exists(weights):  # noqa: PTH110  (never raises)
        raise SpecError(f"model.weights {weights!r} is no file, no folder and no pretrained tag")


@cache
def _loaded(config: ModelConfig) -> "LoadedModel":
    from tasks.encoders.loading import load_model

    return load_model(config)
