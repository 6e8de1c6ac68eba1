"""When nights of a watch were due, and which of them never began."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise

from data_specs.moments import moment_of, shown_moment
from data_specs.night import Night, Schedule

# A worker looks for runs every few seconds; after this long nobody comes any more.
LATE_AFTER = timedelta(minutes=10)
# Of a schedule by the minute the newest only.
MOST_DUE = 2000
_AT_ONCE = 500  # Prefect looks at up to a thousand times in one call


@dataclass(frozen=True)
class DueTime:
    """When a night was due; what begins before `until` may still be that night."""

    at: datetime
    until: datetime


@dataclass(frozen=True)
class MissedNight:
    """A night that never began, and what is known of it."""

    at: datetime
    sentence: str


def due_times(schedules: Sequence[Schedule], now: datetime) -> list[DueTime]:
    """When nights were due, the oldest first, as Prefect's scheduler reckons it, over changes of the clock, too.

    Args:
        schedules: of a watch, the oldest first; each holds until the next one.
        now: what is due later is left out.

    Returns:
        At most the newest 2000 of each schedule.
    """
    ends = [*(moment_of(schedule.at) for schedule in schedules), now][1:]
    found = [
        at
        for schedule, end in zip(schedules, ends, strict=True)
        if schedule.cron is not None
        for at in _between(schedule, min(end, now))
    ]
    # What the last one wanted may begin this very moment.
    return [DueTime(at, until) for at, until in pairwise([*found, now + LATE_AFTER])]


def missed_nights(schedules: Sequence[Schedule], nights: Sequence[Night], now: datetime) -> list[MissedNight]:
    """The due times that no night answers: none was due, or asked for by hand, from then to the next one.

    Args:
        schedules: of a watch, the oldest first.
        nights: all of the watch.
        now: what was due less than ten minutes ago may still begin.
    """
    answered = sorted(moment_of(night.due or night.started) for night in nights)
    return [
        MissedNight(due.at, _sentence(due, nights))
        for due in due_times(schedules, now)
        if now - due.at >= LATE_AFTER and not any(due.at <= moment < due.until for moment in answered)
    ]


def asked_by_hand(schedules: Sequence[Schedule], nights: Sequence[Night], now: datetime) -> dict[str, datetime]:
    """Nights that somebody asked for in place of one that never fired, by identifier: when that was due.

    Of a watch no night of which a schedule ever began nothing is said: something else begins them all.
    """
    scheduled = [moment_of(night.due) for night in nights if night.due is not None]
    found: dict[str, datetime] = {}
    for due in due_times(schedules, now) if scheduled else ():
        if not any(due.at <= moment < due.until for moment in scheduled):
            own = (each for each in nights if each.due is None and due.at <= moment_of(each.started) < due.until)
            found |= {night.id: due.at for night in islice(own, 1)}
    return found


def _sentence(due: DueTime, nights: Sequence[Night]) -> str:
    for night in nights:
        if moment_of(night.started) < due.at and (night.ended is None or moment_of(night.ended) > due.at):
            return f"the night of {shown_moment(night.started)} was not over"
    return "nothing began at that time; a server or `uwm serve` was down, or the schedule was paused"


def _between(schedule: Schedule, end: datetime) -> list[datetime]:
    """The newest times after a schedule's own moment and before an end."""
    start = moment_of(schedule.at)
    two = [*_times(schedule, start, end, 2)]
    if len(two) == 2 and (end - start) / MOST_DUE > (apart := two[1] - two[0]):
        start = max(start, end - MOST_DUE * apart)
    return [at for at in _times(schedule, start, end) if at < end]


def _times(schedule: Schedule, start: datetime, end: datetime, most: int = MOST_DUE) -> Iterator[datetime]:
    from prefect.server.schemas.schedules import CronSchedule  # brings a server, which most stores do without

    fires = CronSchedule(cron=schedule.cron or "", timezone=schedule.timezone)
    while most > 0:
        dates = fires.get_dates(min(most, _AT_ONCE), start, end)
        try:
            dates.send(None)  # a coroutine that never waits, in a notebook's running loop, too
        except StopIteration as over:
            found = [moment_of(date.isoformat()) for date in over.value]  # plain ones, none of a library's own
        yield from found
        if len(found) < min(most, _AT_ONCE):
            return
        most -= len(found)
        start = found[-1] + timedelta(seconds=1)
