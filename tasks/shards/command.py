"""The output of a shell command as a shard: `pipe:COMMAND`."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator

from tasks.shards.fetching import Unfetchable

# A command may look for long before it says its first word.
SILENCE_SECONDS = 300.0
_CHUNK = 1 << 18
_LAST_WORDS = 4096
_LONGEST_WORDS = 200


class Command:
    """A shell command in a process group of its own, which ends with it; nobody answers its questions."""

    def __init__(self, command: str) -> None:
        """Start it."""
        self._last = b""
        self._process = subprocess.Popen(  # noqa: S602  (a shell is what `pipe:` means)
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, name="pipe", daemon=True)
        self._listener.start()

    def chunks(self) -> Iterator[bytes]:
        """What it writes, complete where it ends with status 0."""
        if self._process.stdout is not None:
            with contextlib.suppress(ValueError):  # closed meanwhile
                while chunk := os.read(self._process.stdout.fileno(), _CHUNK):
                    yield chunk
        status = self._process.wait()
        if status:
            self._listener.join(1)
            said = self._last.decode(errors="replace").strip().splitlines()[-1:]
            words = f": {said[0][-_LONGEST_WORDS:]}" if said else " and said nothing"
            raise Unfetchable(f"its command {_ended_how(status)}{words}")

    def close(self) -> None:
        """End it, and all that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _listen(self) -> None:
        if self._process.stderr is not None:
            while words := os.read(self._process.stderr.fileno(), _LAST_WORDS):
                self._last = (self._last + words)[-_LAST_WORDS:]


def _ended_how(status: int) -> str:
    if status > 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
