"""Names that people give to artifacts: each names one at a time and may be moved; who moved it stays on record."""

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from data_specs.errors import ArtifactError, SpecError
from data_specs.log_entry import LogFact
from data_specs.manifest import ArtifactRef
from data_specs.suggestions import did_you_mean
from data_specs.tag import TagEvent, require_tag_name
from data_specs.wording import shown
from tasks.lineage.circumstances import now, user_name
from tasks.lineage.contents import manifest_sha256
from tasks.lineage.disk import refusal, unshare
from tasks.lineage.runs import run_records
from tasks.lineage.store import Store
from tasks.lineage.trust.log import Log, fact_of

TAG_DETAIL = "tag"
_HISTORY, _LOCK = ".tags.jsonl", ".locks/tags.lock"


def tag_history(root: Path) -> list[TagEvent]:
    """Every change of every tag in the store at `root`, the oldest first.

    Raises:
        ArtifactError: the history cannot be read, or a line of it says nothing of a tag.
    """
    path = root / _HISTORY
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error
    events = []
    for number, line in enumerate(lines[:-1], start=1):
        if not line or line.endswith(b"\0"):  # what a process that was killed had begun
            continue
        try:
            events.append(TagEvent.model_validate_json(line))
        except ValidationError as error:
            raise ArtifactError(
                f"{path}, line {number}, is no change of a tag: {error.errors()[0]['msg'][:80]}; put the line right, or take"
                " it out"
            ) from error
    return events


def current_tags(root: Path) -> dict[str, ArtifactRef]:
    """What each tag names now, by name."""
    found = {event.name: event.artifact for event in tag_history(root)}
    return {name: ref for name, ref in sorted(found.items()) if ref is not None}


def set_tag(store: Store, name: str, ref: ArtifactRef, given: str) -> TagEvent:
    """Let a tag name an artifact from now on, whatever it named before.

    Args:
        store: holds the artifact.
        name: of the tag.
        ref: what it shall name.
        given: the artifact as the person wrote it, for the history.

    Raises:
        SpecError: no tag may be called so, or a run is.
        ArtifactError: the artifact is not there, or the store cannot be written.
    """
    require_tag_name(name)
    if any(record["settings"]["name"] == name for record in run_records(store.root)):
        raise SpecError(f"{shown(name)} is the name of a run in {store.root}; choose another for the tag")
    store.manifest(ref)
    with _held(store.root):
        return _append(store.root, name, ref, given)


def remove_tag(store: Store, name: str) -> TagEvent:
    """Let a tag name nothing from now on; what it named stays in the history.

    Raises:
        ArtifactError: there is no such tag, or the store cannot be written.
    """
    _require_there(store.root, name)
    with _held(store.root):
        _require_there(store.root, name)
        return _append(store.root, name, None, None)


def _require_there(root: Path, name: str) -> None:
    if name not in (tags := current_tags(root)):
        raise ArtifactError(f"there is no tag {shown(name)} in {root}{did_you_mean(name, tags)}; see `uwm tag --list`")


def _append(root: Path, name: str, ref: ArtifactRef | None, given: str | None) -> TagEvent:
    event = TagEvent(
        name=name,
        artifact=ref,
        before=current_tags(root).get(name),
        given=given,
        user=user_name(),
        host=platform.node(),
        at=now(),
    )
    # Before the tag is moved, as with what is made: no tag moves without a line.
    Log(root).append([tag_fact(root, name, ref)])
    unshare(root / _HISTORY)
    descriptor = os.open(root / _HISTORY, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        line = event.model_dump_json().encode() + b"\n"
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\0\n" + line  # ends what a process that was killed had begun
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return event


def tag_fact(root: Path, name: str, ref: ArtifactRef | None) -> LogFact:
    """What the log says of a tag that names an artifact, or nothing, from now on."""
    if ref is None:
        return LogFact(event="untagged", details={TAG_DETAIL: name})
    try:
        digest = manifest_sha256(root / ref.kind / ref.version)
    except OSError:
        digest = None
    return fact_of("tagged", ref, digest, **{TAG_DETAIL: name})


@contextmanager
def _held(root: Path) -> Iterator[None]:
    """One process at a time changes tags."""
    try:
        path = root / _LOCK
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path, thread_local=False, fallback_to_soft=False):
            yield
    except OSError as error:
        raise ArtifactError(refusal(root, error.errno or errno.EIO, "a tag")) from error
