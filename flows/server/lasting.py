"""A Prefect server for whoever serves schedules: the configured one, or one of a store's own whose database stays."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from data_specs.errors import ArtifactError, SpecError
from data_specs.wording import reason
from flows.server.configured import configured_url, require_answer
from flows.server.own_server import OwnServer
from flows.server.surroundings import (
    cache_folder,
    loopback_reached_directly,
    require_a_home,
    server_environment,
    without_prefect,
)

_FOLDER = ".prefect"  # in a store
_PORT = 4200  # Prefect's own, where it is free
_DATABASE = "prefect.db"
_OF_SHORT_LIVES = ("PREFECT__SERVER_EPHEMERAL", "PREFECT_UI_ENABLED")


class LastingServer(OwnServer):
    """A server with its pages, schedules and automations, whose folder and database stay for the next one."""

    kind = "own"
    lasts = True

    def __init__(self, folder: Path) -> None:
        """Start the process on Prefect's own port, or on a free one; `wait` makes sure that it answers."""
        environment = server_environment(folder)
        for name in _OF_SHORT_LIVES:
            del environment[name]
        cache = cache_folder()
        # Where there is a database already, this Prefect brings it up to date.
        new = cache is not None and not (folder / _DATABASE).exists()
        template = str(cache / f"prefect-{version('prefect')}.db") if cache and new else ""
        environment["PREFECT_UI_STATIC_DIRECTORY"] = str(folder / "ui")
        try:
            super().__init__(folder, environment, template=template, port=_PORT)
        except OSError:
            super().__init__(folder, environment, template=template)

    def told_of_port(self) -> dict[str, str]:
        """The pages ask the server where the browser finds it."""
        return {"PREFECT_UI_API_URL": self.api_url}


@contextmanager
def lasting_api(store: Path) -> Iterator[Callable[[], str]]:
    """Let schedules fire: on the configured server, else on one of the store's own for as long as the block lasts.

    The block begins while the server still starts; the function that it is given returns the server's address once
    it answers.

    Args:
        store: folder of a store, which is made.

    Raises:
        SpecError: the configured server does not answer, or another process has a server of this store's own.
        ArtifactError: the store cannot be written.
    """
    require_a_home()
    with loopback_reached_directly():
        url = configured_url()
        if url:
            require_answer(url)
            yield lambda: url
            return
        folder = store / _FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(
                f"cannot write to the store {store}: {reason(error)}; its nights are kept there"
            ) from error
        with ExitStack() as stack:
            stack.enter_context(_alone(folder))
            server = stack.enter_context(LastingServer(folder))
            (folder / "url").write_text(server.api_url, encoding="utf-8")
            stack.enter_context(_settings_for(server))

            def wait() -> str:
                server.wait()
                return server.api_url

            yield wait


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "server.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        url = folder / "url"
        at = url.read_text(encoding="utf-8") if url.exists() else "an address that it has not said yet"
        raise SpecError(
            f"another `uwm serve` has a Prefect server for this store, at {at}; set PREFECT_API_URL to that to serve this"
            " watch on it, too, or stop the other one"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _settings_for(server: LastingServer) -> Iterator[None]:
    """This process and its children use the server, with nothing of the user's Prefect: no key, no profile, no home."""
    from prefect.context import refresh_global_settings_context

    before = dict(os.environ)
    logging = {name: value for name, value in before.items() if name.startswith("PREFECT_LOGGING_")}
    own = {"PREFECT_API_URL": server.api_url, "PREFECT_HOME": str(server.folder)}
    os.environ.clear()
    os.environ.update({**without_prefect(before), **logging, **own})
    try:
        refresh_global_settings_context()
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
