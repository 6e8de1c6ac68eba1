"""A line of a store's log: what happened to an artifact, chained to all lines before it."""

from typing import Literal

from pydantic import Field

from data_specs.manifest import KIND_PATTERN, VERSION_PATTERN
from data_specs.spec import Spec

# `found`: was there when the log began, or was put there by other means and acknowledged; `lost`: was gone, and
# acknowledged; `repaired`: a line of a process that was killed while it wrote is left out.
LogEvent = Literal[
    "made", "found", "pulled", "upgraded", "pruned", "discarded", "lost", "tagged", "untagged", "repaired"
]
# What the first line names as the one before it.
NO_ENTRY = "0" * 64


class LogFact(Spec):
    """What a line says has happened."""

    event: LogEvent
    kind: str | None = Field(default=None, pattern=KIND_PATTERN)
    version: str | None = Field(default=None, pattern=VERSION_PATTERN)
    manifest: str | None = Field(
        default=None, pattern=VERSION_PATTERN, description="SHA-256 of the bytes of the artifact's manifest.json"
    )
    details: dict[str, str] = Field(default_factory=dict, description="such as the name of a tag")


class LogEntry(LogFact):
    """One line, JSON with sorted keys and no spaces."""

    number: int = Field(ge=1, description="1 for the first")
    time: str = Field(description="ISO 8601, UTC")
    user: str
    host: str
    previous: str = Field(pattern=VERSION_PATTERN, description="`hash` of the line before")
    hash: str = Field(
        default=NO_ENTRY, pattern=VERSION_PATTERN, description="SHA-256 of this line's JSON without the field `hash`"
    )
