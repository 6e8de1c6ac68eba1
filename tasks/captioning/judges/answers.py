"""What an endpoint answered, a line a request, kept as it comes: what a killed run has, the next one does not ask again."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, ValidationError

from data_specs.errors import ArtifactError
from data_specs.manifest import VERSION_PATTERN
from data_specs.spec import Spec
from data_specs.wording import reason, shown_path


class Reply(Spec):
    """One answer, as it came; what it says of the caption is read later, so that another way to read asks nothing."""

    request: str = Field(
        pattern=VERSION_PATTERN, description="digest of the request's body as the settings would have it"
    )
    content: str | None = Field(description="the message")
    finish: str | None = Field(description="why it ended")
    refusal: str | None = Field(default=None, description="what the endpoint marks as one")
    served_by: str | None = Field(description="the model that answered, as it says")
    fingerprint: str | None = Field(default=None, description="of its set-up, as it says")
    structured: bool = Field(description="whether it was held to the schema")
    when: str = Field(description="ISO 8601, UTC")


class AnswerLog:
    """A file of answers; of one request the first that was kept counts, in whatever process."""

    def __init__(self, path: Path) -> None:
        """Read what is there, which may be nothing.

        Raises:
            ArtifactError: the file cannot be read.
        """
        self.path = path
        self.answers: dict[str, Reply] = {}
        self.n_unreadable = 0
        self._lock = threading.Lock()
        for line in self._lines():
            try:
                answer = Reply.model_validate_json(line)
            except ValidationError:  # cut by a kill, or by hand: it is asked again
                self.n_unreadable += 1
                continue
            self.answers.setdefault(answer.request, answer)

    def add(self, answer: Reply) -> None:
        """Keep an answer, in one write, so that a kill leaves whole lines and other processes may add theirs.

        Raises:
            ArtifactError: the file cannot be written.
        """
        line = json.dumps(answer.model_dump(), sort_keys=True).encode() + b"\n"
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
                try:
                    # A line that was cut stays one, apart from this.
                    os.write(file, line if _ends_whole(file) else b"\n" + line)
                finally:
                    os.close(file)
            except OSError as error:
                raise ArtifactError(
                    f"cannot keep an answer in {shown_path(self.path)}: {reason(error)}; make it writable, and start again"
                ) from error
            self.answers.setdefault(answer.request, answer)

    def _lines(self) -> Iterator[bytes]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ArtifactError(f"cannot read the answers in {shown_path(self.path)}: {reason(error)}") from error
        yield from (line for line in content.split(b"\n") if line.strip())


def _ends_whole(file: int) -> bool:
    size = os.fstat(file).st_size
    return size == 0 or os.pread(file, 1, size - 1) == b"\n"
