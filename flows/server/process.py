"""The process of a Prefect server of one's own; started by path, with an environment and a folder of its own."""

import asyncio
import contextlib
import gc
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

_DATABASE = "prefect.db"
_LOCK_SECONDS = 60


def _end_with_parent(parent: int, folder: Path, *, lasts: bool) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    if lasts:
        os._exit(0)
    # The server still writes in this moment, and could fill the folder again while it is emptied.
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.05)
    os._exit(0)


def _is_whole(database: Path) -> bool:
    with contextlib.closing(sqlite3.connect(database)) as opened:
        return bool(
            opened.execute("PRAGMA quick_check").fetchone() == ("ok",)
            and opened.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        )


def _copy(template: Path, database: Path) -> bool:
    """Take the database from the template; returns whether that did."""
    try:
        shutil.copyfile(template, database)
        if _is_whole(database):
            return True
    except (OSError, sqlite3.Error):
        pass
    database.unlink(missing_ok=True)
    return False


def _make(database: Path) -> None:
    from prefect.server.database import provide_database_interface

    async def migrate() -> None:
        interface = provide_database_interface()
        await interface.create_db()
        await (await interface.engine()).dispose()

    asyncio.run(migrate())


def _keep(database: Path, template: Path) -> None:
    handle, draft = tempfile.mkstemp(prefix=".", suffix=".db", dir=template.parent)
    os.close(handle)
    try:
        # A plain copy would miss what still lies in the write-ahead log.
        with contextlib.closing(sqlite3.connect(database)) as made, contextlib.closing(sqlite3.connect(draft)) as kept:
            made.backup(kept)
        Path(draft).replace(template)
    finally:
        Path(draft).unlink(missing_ok=True)


def _prepare(database: Path, template: Path | None) -> None:
    """A database with this Prefect's tables: migrations take seconds, so they run once and are copied from then on."""
    if template is None:
        _make(database)
        return
    if _copy(template, database):
        return
    from filelock import FileLock, Timeout

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, NotImplementedError, Timeout):
            template.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(template.with_suffix(".lock"), timeout=_LOCK_SECONDS))
        if _copy(template, database):
            return
        _make(database)
        with contextlib.suppress(OSError, sqlite3.Error):
            _keep(database, template)


def main() -> None:
    """Serve on a socket that the parent listens on, as long as the parent lives."""
    listening, parent, folder, template = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    ending = {"lasts": "lasts" in sys.argv[5:]}
    threading.Thread(target=_end_with_parent, args=(parent, folder), kwargs=ending, daemon=True).start()
    _prepare(folder / _DATABASE, Path(template) if template else None)

    # What imports and the making of routes leave stays: looking through it again and again is a fifth of their time.
    gc.disable()
    import uvicorn
    from prefect.server.api.server import create_app

    application = create_app()
    gc.freeze()
    gc.enable()
    config = uvicorn.Config(
        application,
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


if __name__ == "__main__":
    main()
