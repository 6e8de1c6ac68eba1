"""How shards that lie elsewhere are brought here."""

from typing import Any

from pydantic import ByteSize, Field, field_validator

from data_specs.spec import Spec
from data_specs.wording import shown


class FetchConfig(Spec):
    """Bounds of what is fetched, and whose word stands for it."""

    limit: ByteSize | None = Field(
        default=None,
        description="bytes of all copies together, such as 200GB; they stay for later runs. null: all that a run needs,"
        " and none when it ends",
    )
    trust_etag: bool = Field(
        default=False,
        strict=True,
        description="take a shard whose ETag and size are those that it was fetched with before for unchanged, unseen",
    )

    @field_validator("limit", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        if isinstance(value, bool | float):
            raise ValueError(f"expected a size such as 200GB, got {shown(value)}")
        return value

    @field_validator("limit")
    @classmethod
    def _room_for_something(cls, value: ByteSize | None) -> ByteSize | None:
        if value == 0:
            raise ValueError("expected more than 0 bytes; leave it out to keep what a run needs as long as it goes on")
        return value
