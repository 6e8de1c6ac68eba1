"""When the next request may start: so many a second, none while the endpoint wants to be left alone, none at the end."""

import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class Stopped(Exception):
    """The whole is over: some other thread failed, or the user ended it."""


class Pace:
    """Lets threads through one after the other."""

    def __init__(self, per_second: float | None = None) -> None:
        """Let through `per_second` at most, one after the other; None is no limit."""
        self._gap = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()
        self._over = threading.Event()

    def wait(self) -> None:
        """Wait for this thread's turn.

        Raises:
            Stopped: there is none any more.
        """
        while True:
            with self._lock:
                now = time.monotonic()
                left = self._next - now
                if left <= 0 and not self._over.is_set():
                    self._next = now + self._gap
                    return
            self.pause(max(left, 0))

    def hold(self, seconds: float) -> None:
        """Let nobody through for so long."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def pause(self, seconds: float) -> None:
        """Sleep; see `wait`."""
        if self._over.wait(seconds):
            raise Stopped

    def stop(self) -> None:
        """Let nobody through any more, and wake who sleeps."""
        self._over.set()


def asked_to_wait(retry_after: str | None, date: str | None, now: datetime | None = None) -> float | None:
    """How long an answer asks to wait.

    Source: RFC 9110, 10.2.3: seconds, or a date; a date is counted from the answer's own, since clocks differ.

    Args:
        retry_after: the header `Retry-After`.
        date: the header `Date`.
        now: in place of the clock, where there is no `Date`.

    Returns:
        Seconds, 0 where the date is over; None where it asks for nothing, or unreadably.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    until, since = _moment(text), _moment(date or "")
    if until is None:
        return None
    return max(0.0, (until - (since or now or datetime.now(UTC))).total_seconds())


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
