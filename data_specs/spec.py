"""The base of every configuration model: closed and immutable."""

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A settings object that refuses unknown keys and cannot change after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
