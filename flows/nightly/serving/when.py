"""When nights are due: a cron line and a time zone, checked before a server is asked."""

import asyncio
from datetime import datetime
from zoneinfo import available_timezones

from data_specs.errors import SpecError
from data_specs.suggestions import did_you_mean
from data_specs.wording import first_line, one_line, shown

_FIELDS = "minute hour day-of-month month day-of-week"


def next_nights(cron: str, timezone: str, after: datetime, n: int = 3) -> list[datetime]:
    """The next times of a cron line, as Prefect's scheduler reckons them.

    Args:
        cron: five fields, or a word such as @daily.
        timezone: an IANA name, such as Europe/Berlin; times follow its changes of the clock.
        after: with a time zone.
        n: how many.

    Raises:
        SpecError: the line or the zone is none, or the line means no time at all.
    """
    from prefect.server.schemas.schedules import CronSchedule

    _require_zone(timezone)
    n_fields = len(cron.split())
    if n_fields != 5 and not cron.strip().startswith("@"):
        raise SpecError(f"--cron {shown(cron)} has {n_fields} fields, expected 5: {_FIELDS}, such as '0 3 * * *'")
    try:
        schedule = CronSchedule(cron=cron, timezone=timezone)
    except ValueError as error:
        raise SpecError(f"--cron {shown(cron)} is no time: {_said(error)}; expected {_FIELDS}") from error
    try:
        found = asyncio.run(schedule.get_dates(n=n, start=after))
    except ValueError as error:
        raise SpecError(f"--cron {shown(cron)} means no time: {one_line(first_line(error), 200)}") from error
    if not found:
        raise SpecError(f"--cron {shown(cron)} means no time; such a day never comes")
    return [*found]


def _require_zone(timezone: str) -> None:
    known = available_timezones()
    if timezone not in known:
        raise SpecError(
            f"--timezone {shown(timezone)} is none; expected a name such as Europe/Berlin or UTC"
            f"{did_you_mean(timezone, sorted(known))}"
        )


def _said(error: ValueError) -> str:
    # Pydantic says it on the third line, with the type behind.
    lines = [line.strip() for line in str(error).splitlines()]
    told = next((line for line in lines if line.startswith("Value error, ")), lines[0])
    return one_line(told.removeprefix("Value error, ").partition(" [type=")[0], 200)
