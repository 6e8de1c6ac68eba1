"""Nights that came by a schedule wait for each other, one at a time a store, whatever servers and workers start them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from prefect.context import FlowRunContext

from data_specs.wording import one_line
from flows.nightly.nights import WATCHES
from tasks.lineage.progress import notice

_LOOK_SECONDS = 1.0


@contextmanager
def turn_in_store(root: Path, watch: str) -> Iterator[None]:
    """Wait until no other scheduled night has its turn in the store at `root`, say so, and hold the turn.

    The kernel ends the turn of a process that is killed. A flow run of no deployment, asked for by hand, takes none:
    several processes that measure the same divide the work.

    Args:
        root: folder of the store.
        watch: whose night it is, for the others to say.
    """
    if not _is_scheduled():
        yield
        return
    folder = root / WATCHES
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / "turn.lock"), folder / "turn"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        notice(f"waits for the night of {_shown(holder)} in this store to end; one runs at a time")
        lock.acquire(poll_interval=_LOOK_SECONDS)
    try:
        holder.write_text(watch, encoding="utf-8")
        yield
    finally:
        lock.release()


def _is_scheduled() -> bool:
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.deployment_id is not None


def _shown(holder: Path) -> str:
    try:
        return one_line(holder.read_text(encoding="utf-8"), 200) or "another watch"
    except (OSError, ValueError):
        return "another watch"
