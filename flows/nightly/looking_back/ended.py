"""How a night or a run ended, also one that could not say it itself."""

import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from data_specs.history import HistoryState
from data_specs.moments import moment_of
from data_specs.night import NightStatus

# Clocks of boot and of files are whole seconds.
_LEEWAY_SECONDS = 5.0
_OVER = ("Z", "X")  # killed, and its parent has not asked yet


def state_of(
    status: NightStatus, started: str, host: str | None, process: int | None, followed: bool = False
) -> HistoryState:
    """How something on record ended.

    Args:
        status: as the record says it; one that was killed stays `running`.
        started: ISO 8601.
        host: on which it ran.
        process: its number there.
        followed: whether another one began since.

    Returns:
        `crashed` of what is on record as running although its process is gone; a process on another host is
        believed to be there until it is followed.
    """
    if status == "completed":
        return "measured"
    if status != "running":
        return status
    if host == platform.node() and process is not None:
        return "running" if _is_there(process, moment_of(started)) else "crashed"
    return "crashed" if followed else "running"


def _is_there(process: int, started: datetime) -> bool:
    """Whether a process is alive, and did not take the number of one that began earlier."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    told = _told(process)
    if told and told[0] in _OVER:
        return False
    began = _began(told)
    return began is None or began.timestamp() - started.timestamp() < _LEEWAY_SECONDS


def _told(process: int) -> list[str]:
    """What the system tells of a process from its state on; nothing where it is not Linux."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return []


def _began(told: list[str]) -> datetime | None:
    """When a process began; None where the system does not say."""
    with suppress(OSError, ValueError, StopIteration, IndexError):
        lines = Path("/proc/stat").read_text().splitlines()
        boot = int(next(line.split()[1] for line in lines if line.startswith("btime ")))
        return datetime.fromtimestamp(boot + int(told[19]) / os.sysconf("SC_CLK_TCK"), UTC)
    return None
