"""`uwm serve`: the nights of a watch by a schedule, until it is stopped."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from data_specs.night import Schedule
from data_specs.watch import Watch
from data_specs.watch_file import load_watch
from flows.commands.ending import say, work_kept_in
from flows.commands.options import (
    DEFAULT_STORE,
    DevicesOption,
    RemoteOption,
    StoreOption,
    WorkersOption,
    grouped,
    store_place,
)
from flows.commands.reevaluate import StrictOption, WatchArgument, require_watch_files

_OFF = "off"
_SHOWN = "%Y-%m-%d %H:%M %Z"
CronOption = Annotated[
    str,
    typer.Option(
        "--cron",
        metavar="LINE",
        help="Minute hour day-of-month month day-of-week, such as '0 3 * * *'; off: from now on no night is due.",
    ),
]
ZoneOption = Annotated[
    str, typer.Option("--timezone", metavar="ZONE", help="By whose clock, such as Europe/Berlin.", show_default=True)
]


@dataclass(frozen=True)
class ServeOptions:
    """How nights are carried out, and what is served beside them."""

    store: StoreOption = DEFAULT_STORE
    remote: RemoteOption = None
    device: DevicesOption = "auto"
    workers: WorkersOption = None
    strict: StrictOption = False
    now: Annotated[bool, typer.Option("--now", help="Begin with a night at once.")] = False
    reports: Annotated[
        int | None,
        typer.Option(
            "--reports",
            metavar="PORT",
            min=0,
            max=65535,
            help="Serve the store's report pages on 127.0.0.1, too; 0 takes any free port.",
        ),
    ] = None


@grouped
def serve(
    watch: WatchArgument,
    cron: CronOption,
    timezone: ZoneOption = "UTC",
    options: ServeOptions = ServeOptions(),
) -> None:
    """Measure a watch again by a schedule, one night at a time, until this is stopped by Ctrl-C or SIGTERM."""
    asked = load_watch(watch)
    require_watch_files(asked)
    place = store_place(options.store, options.remote)
    store = Path(place.folder).absolute()
    if cron == _OFF:
        _note_that_none_is_due(store, asked.name)
        return
    # Nights of a service are followed in its log.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "INFO"
    from flows.nightly.serving.when import next_nights
    from flows.server.lasting import lasting_api

    due = next_nights(cron, timezone, datetime.now(UTC))
    with _reports(store, options.reports), work_kept_in(str(store)), lasting_api(store) as wait_for_server:
        from flows.nightly.nights import add_schedule
        from flows.nightly.reevaluate import reevaluate
        from flows.nightly.serving.hooks import settle_dead_nights
        from flows.nightly.serving.serving import NightRunner, Served, parameters_of
        from flows.nightly.serving.zombies import watch_for_zombies
        from flows.nightly.telling.telling import require_ways

        url = wait_for_server()
        require_ways(asked.notify)
        for told in settle_dead_nights(asked, store):
            say(told)
        where = place.model_copy(update={"folder": str(store)}).model_dump(mode="json")
        parameters = parameters_of(watch, where, options.device, options.workers, strict=options.strict)
        runner = NightRunner(reevaluate, Served(asked.name, cron, timezone, parameters))
        watch_for_zombies()
        add_schedule(store, asked.name, _schedule(cron, timezone))
        _say_what_is_served(asked, due, url)
        if options.now:
            say(f"asked for a night now: {runner.ask_now()}")
        runner.run()


def _note_that_none_is_due(store: Path, watch: str) -> None:
    from flows.nightly.nights import add_schedule

    add_schedule(store, watch, _schedule(None, "UTC"))
    say(f"from now on no night of {watch} is due in {store}")


def _schedule(cron: str | None, timezone: str) -> Schedule:
    import platform

    from tasks.lineage.circumstances import now, user_name

    return Schedule(at=now(), cron=cron, timezone=timezone, by=f"{user_name()}@{platform.node()}")


@contextmanager
def _reports(store: Path, port: int | None) -> Iterator[None]:
    from flows.nightly.serving.report_pages import reports_served
    from flows.nightly.telling.message import REPORTS_URL

    with nullcontext() if port is None else reports_served(store, port) as url:
        if url is not None:
            say(f"reports of {store}: {url}")
            # Links of messages and pages of Prefect lead there, unless they are reached by another name.
            os.environ.setdefault(REPORTS_URL, url)
        yield


def _say_what_is_served(watch: Watch, due: list[datetime], url: str) -> None:
    times = ", ".join(at.strftime(_SHOWN) for at in due)
    say(f"serving reevaluate/{watch.name} on {url}; the next nights: {times}; stop with Ctrl-C or SIGTERM")
