"""What is kept of a shard from elsewhere that was fetched."""

from typing import Literal

from pydantic import Field

from data_specs.manifest import VERSION_PATTERN
from data_specs.samples import BadReason
from data_specs.spec import Spec


class SampleRecord(Spec):
    """One key of a shard, as it was found there; see `tasks.shards.inspection`."""

    key: str
    members: tuple[str, ...]
    fault: BadReason | None = None
    unusable: tuple[tuple[str, BadReason, str], ...] = ()


class ShardIndex(Spec):
    """What a shard holds, and which code found it."""

    code: str = Field(pattern=VERSION_PATTERN)
    samples: tuple[SampleRecord, ...]


class FetchRecord(Spec):
    """What a shard from elsewhere was when it was fetched last."""

    format: Literal[1] = 1
    location: str = Field(description="without what gives access to it")
    sha256: str = Field(pattern=VERSION_PATTERN)
    size_bytes: int = Field(ge=0)
    etag: str | None = Field(description="a strong one, of the very answer that gave the bytes")
    fetched: float = Field(description="seconds since 1970")
    index: ShardIndex | None = None
