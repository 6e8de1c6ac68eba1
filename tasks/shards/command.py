"""The output of a shell command as a shard: `pipe:COMMAND`."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator

from tasks.shards.fetching import Answer, Unfetchable

# A command may look for long before it says its first word.
SILENCE_SECONDS = 300.0
_CHUNK = 1 << 18
_LAST_WORDS = 4096
_LONGEST_WORDS = 200


class Command:
    """A shell command in a process group of its own, which ends with it; nobody answers its questions."""

    def __init__(self, command: str) -> None:
        """Starts when it is read: then whoever reads it is ready to end it, however soon it is interrupted."""
        self._command = command
        self._last = b""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def chunks(self) -> Iterator[Answer | bytes]:
        """What it writes, complete where it ends with status 0."""
        process = self._started()
        if process is None or process.stdout is None:
            return
        listener = threading.Thread(target=self._listen, args=(process,), name="pipe", daemon=True)
        listener.start()
        with contextlib.suppress(ValueError):  # closed meanwhile
            while chunk := os.read(process.stdout.fileno(), _CHUNK):
                yield chunk
        status = process.wait()
        if status:
            listener.join(1)
            said = self._last.decode(errors="replace").strip().splitlines()[-1:]
            words = f": {said[0][-_LONGEST_WORDS:]}" if said else " and said nothing"
            raise Unfetchable(f"its command {_ended_how(status)}{words}")

    def close(self) -> None:
        """End it, and all that it has started."""
        with self._lock:
            self._ended = True
            process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _started(self) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            if self._ended:
                return None
            try:
                self._process = subprocess.Popen(  # noqa: S602  (a shell is what `pipe:` means)
                    self._command,
                    shell=True,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                raise Unfetchable(f"its command cannot be started: {error}") from error
            return self._process

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        if process.stderr is not None:
            while words := os.read(process.stderr.fileno(), _LAST_WORDS):
                self._last = (self._last + words)[-_LAST_WORDS:]


def _ended_how(status: int) -> str:
    if status > 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
