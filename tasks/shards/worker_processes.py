"""What the processes that decode samples need of the machine."""

import shutil
import signal
import threading

SHARED_MEMORY = "/dev/shm"  # noqa: S108  (where the kernel keeps it)


def prepare_worker(_worker: int) -> None:
    """Make a process that was just started one that its parent alone ends."""
    # Who presses Ctrl-C sends it to all processes of the terminal; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # A forked worker inherits the exit hooks of the parent's threads, which do not live in it: Prefect's
    # event worker fails there on an assertion, and the loader reports a worker that died.
    getattr(threading, "_threading_atexits", []).clear()


def free_shared_memory() -> int:
    """Bytes that processes may still share; 0 where they cannot."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return 0
