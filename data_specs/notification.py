"""Who is told how a night ended."""

from typing import Literal, Self

from pydantic import Field, model_validator

from data_specs.fields import NAME_PATTERN
from data_specs.spec import Spec

# How a night can end, and a night that did not begin.
Event = Literal["passed", "failed", "unsure", "not_comparable", "crashed", "missed"]


class Notification(Spec):
    """One way to tell somebody."""

    webhook: str | None = Field(
        default=None,
        pattern=r"^(https?://|\$[A-Za-z_][A-Za-z0-9_]*$)",
        description="URL, or $NAME of a variable with it",
    )
    email_block: str | None = Field(
        default=None, pattern=NAME_PATTERN, description="name of a block on the Prefect server that sends e-mail"
    )
    on: list[Event] = Field(default=["failed", "crashed"], min_length=1, description="what is told")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.webhook is None) == (self.email_block is None):
            raise ValueError("give either webhook or email_block")
        return self
