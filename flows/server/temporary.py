"""A Prefect server for one run, started while the heavy imports go on, and gone when the run is.

Prefect would start one by itself, but only at the first flow, after importing its server into
this process, with its output on the user's screen, in the user's home and settings, and it
would outlive a run that is killed.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from flows.server.configured import configured_url, require_answer
from flows.server.own_server import OwnServer
from flows.server.surroundings import (
    bare,
    cache_folder,
    loopback_reached_directly,
    new_folder,
    require_a_home,
    server_environment,
)
from tasks.lineage.progress import notice

if TYPE_CHECKING:
    from prefect.context import SettingsContext

_PROFILE = "temporary"


class TemporaryServer(OwnServer):
    """A server process on a free port of this machine, with a folder and a database of its own."""

    kind = "temporary"

    def __init__(self) -> None:
        """Start the process; `wait` makes sure that it answers."""
        folder = new_folder()
        cache = cache_folder()
        template = str(cache / f"prefect-{version('prefect')}.db") if cache else ""
        try:
            super().__init__(folder, server_environment(folder), template=template)
        except BaseException:  # a signal as it starts: the process ends with this one, and has no folder any more
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def stop(self) -> None:
        """End the process and remove its folder."""
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def is_temporary() -> bool:
    """Whether what is sent to the server of this run is gone when the run is."""
    from prefect.context import get_settings_context

    return get_settings_context().profile.name == _PROFILE


@contextmanager
def prefect_api() -> Iterator[Callable[[], None]]:
    """Let flows run: against the configured server where there is one, else against a temporary one.

    The block begins while the server still starts, so that imports can go on; the function that
    it is given returns once the server answers, and must be called before the first flow.

    Raises:
        SpecError: the configured server does not answer, or refuses this user.
    """
    require_a_home()
    with loopback_reached_directly() as told:
        url = configured_url()
        if url:
            require_answer(url)
            yield lambda: _tell(told)
            return
        with TemporaryServer() as server, _own_settings(server), no_events():

            def wait() -> None:
                _tell(told)
                server.wait()

            yield wait


@contextmanager
def no_events() -> Iterator[None]:
    """Nothing is sent beside the runs themselves: what is still on its way when the server ends keeps a process for minutes."""
    from prefect.events.clients import NullEventsClient
    from prefect.events.worker import EventsWorker

    EventsWorker.set_client_override(NullEventsClient)
    try:
        yield
    finally:
        EventsWorker.set_client_override(None)


def _tell(texts: list[str]) -> None:
    for text in texts:
        notice(text)


def _own_settings(server: TemporaryServer) -> "SettingsContext":
    """Prefect's settings for runs on the server: none of the user's, above all no key and no password."""
    with bare():
        from prefect.context import SettingsContext
        from prefect.settings import Profile, Settings

        settings = Settings.model_validate(
            {
                "home": server.folder,
                "api": {"url": server.api_url},
                # Without heartbeats a flow ends at once; nobody watches for zombies on a server that ends with the run.
                "flows": {"heartbeat_frequency": None},
                # Nobody reads the log of a server that ends with the run.
                "logging": {"to_api": {"enabled": False}},
            }
        )
        return SettingsContext(profile=Profile(name=_PROFILE, settings={}), settings=settings)
