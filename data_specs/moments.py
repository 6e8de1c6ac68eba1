"""Moments as files hold them: ISO 8601, UTC where a text says no other time."""

from datetime import UTC, datetime


def moment_of(text: str) -> datetime:
    """The moment that a text names.

    Raises:
        ValueError: it is no date.
    """
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)


def shown_moment(text: str) -> str:
    """A moment to the minute in UTC, such as `2026-11-02 03:00`."""
    return moment_of(text).strftime("%Y-%m-%d %H:%M")
