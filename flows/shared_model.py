"""The model that sessions one after another share."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from data_specs.run_config import ModelConfig
from tasks.encoders.loading import LoadedModel, load_model

_SHARED: ContextVar[dict[ModelConfig, LoadedModel] | None] = ContextVar("_SHARED", default=None)


@contextmanager
def models_shared() -> Iterator[None]:
    """Within the block, a session whose settings name the model of the one before takes it over, in place of loading it."""
    token = _SHARED.set({})
    try:
        yield
    finally:
        _SHARED.reset(token)


def load_shared(model: ModelConfig) -> LoadedModel:
    """The model of some settings, from the session before where sessions share theirs."""
    shared_models = _SHARED.get()
    if shared_models is None:
        return load_model(model)
    if model not in shared_models:
        shared_models.clear()  # before there are two in memory
        shared_models[model] = load_model(model)
    return shared_models[model]
