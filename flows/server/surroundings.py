"""What a run takes from its surroundings, and what it does not; nothing here imports Prefect before it is asked to."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from data_specs.errors import SpecError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NO_PROXY = ("no_proxy", "NO_PROXY")
_ANY_PROXY = ("all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")
# What could make a server on this machine fail, and what it has no need of.
_NOT_FOR_A_SERVER = {"PYTHONWARNINGS", "PYTHONINSPECT", "SSL_CERT_FILE", "SSL_CERT_DIR", *_ANY_PROXY}
_OWN_FOLDER = Path(__file__).resolve().parent
_CONSOLE_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"


def without_prefect(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without any setting of Prefect's; their names are not case-sensitive."""
    return {name: value for name, value in environment.items() if not name.upper().startswith("PREFECT_")}


def server_environment(home: Path) -> dict[str, str]:
    """The environment of a temporary server, none of the user's settings in it."""
    kept = {name: value for name, value in without_prefect(os.environ).items() if name not in _NOT_FOR_A_SERVER}
    return {
        **kept,
        "HOME": str(home),
        "TMPDIR": str(home),
        # The server runs in its own folder, and imports what this process could import.
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///prefect.db",
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        # Else its telemetry writes to the database at once, and "database is locked" follows.
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_UI_ENABLED": "false",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }


@contextlib.contextmanager
def bare() -> Iterator[None]:
    """For a moment Prefect's settings are as they come: no variable, profile or file of the current folder counts."""
    before = dict(os.environ)
    level = {_CONSOLE_LEVEL: before[_CONSOLE_LEVEL]} if _CONSOLE_LEVEL in before else {}
    os.environ.clear()
    os.environ.update({**without_prefect(before), **level, "DO_NOT_TRACK": "1"})
    try:
        # Any folder without files of settings will do; a new one would stay behind if this process is killed now.
        os.environ["PREFECT_HOME"] = str(_OWN_FOLDER)
        with contextlib.chdir(_OWN_FOLDER):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def loopback_reached_directly() -> Iterator[list[str]]:
    """No proxy stands between this process and a server on this machine for as long as the block lasts.

    What the user should be told of it comes with the block.
    """
    before = {name: os.environ.get(name) for name in (*_NO_PROXY, *_ANY_PROXY)}
    known = [host.strip() for name in _NO_PROXY for host in (before[name] or "").split(",") if host.strip()]
    completed = ",".join(dict.fromkeys([*known, *_LOOPBACK]))
    os.environ.update(dict.fromkeys(_NO_PROXY, completed))
    try:
        yield [_hidden(name, error) for name in _ANY_PROXY if (error := _why_unusable(os.environ.get(name)))]
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def _why_unusable(proxy: str | None) -> str | None:
    if proxy:
        try:
            # With a SOCKS proxy, or an address that is none, Prefect's client fails before it looks at NO_PROXY.
            httpx.HTTPTransport(proxy=proxy if "://" in proxy else f"http://{proxy}").close()
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            return " ".join(str(error).split())
    return None


def _hidden(name: str, why: str) -> str:
    del os.environ[name]
    return f"{name} is not used in this run: {why}"


def new_folder() -> Path:
    """A new folder for temporary files; the caller removes it.

    Raises:
        SpecError: no folder for temporary files can be written.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="uwm-prefect-"))
    except OSError as error:
        raise SpecError(
            f"a folder for temporary files is needed and none can be written: {error}; set TMPDIR to one that can, such"
            " as one on the store's disk"
        ) from error


def cache_folder() -> Path | None:
    """Where what is the same for all runs of this user may lie; None where there is no such place."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():
        return Path(given) / "uwm"
    home = os.environ.get("HOME", "")
    return Path(home) / ".cache" / "uwm" if Path(home).is_absolute() else None


def require_a_home() -> None:
    """A user without an entry in passwd and without HOME has none, and Prefect's import fails on that."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.gettempdir()
