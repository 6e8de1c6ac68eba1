"""Stores that share remotes, with artifacts of a few bytes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_specs.manifest import ArtifactRef
from flows.remotes.sharing import Sharing, shared
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import Notices, listening
from tasks.lineage.store import Build, Made, Store
from tests.cases.recipes import recipe_of, write_two


@contextmanager
def run_in(root: Path, *urls: str) -> Iterator[tuple[Store, Sharing, Notices]]:
    """A store as a run has it, with its remotes."""
    store, heard = Store(root, hash_once=True), Notices()
    with listening(heard), shared([store], urls) as sharing:
        yield store, sharing, heard
    store.uses.close()


def made_and_shared(root: Path, *urls: str) -> list[Made]:
    """The three artifacts of a chain, made in a store or found, and put into its remotes."""
    with run_in(root, *urls) as (store, sharing, _):
        made = chain(store)
        sharing.settle(item.ref for item in made)
    return made


def chain(store: Store, write: Any = write_two) -> list[Made]:
    """Activations, scores of them, and an edit of these."""
    made: list[Made] = []
    for kind in ("activations.text", "scores", "edit"):
        inputs = {"made_of": made[-1].ref} if made else {}
        made.append(store.materialise(recipe_of(kind, inputs=inputs), write, RunContext()))
    return made


def never(_build: Build) -> None:
    raise AssertionError("made anew")


def written(name: str, content: bytes) -> Any:
    """Writes one file."""

    def write(build: Build) -> None:
        (build.folder / name).write_bytes(content)

    return write


def files_of(store: Store, ref: ArtifactRef) -> dict[str, bytes]:
    """All that lies in an artifact's folder but its manifest."""
    folder = store.folder(ref)
    return {
        os.path.relpath(path, folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def payload(remote: Path) -> list[Path]:
    """The files of all artifacts in the folder of a remote, by their digests."""
    return sorted(path for path in (remote / ".files").rglob("*") if path.is_file())


def damage(remote: Path, how: str) -> None:
    """Make each of them a byte shorter, change one, or remove it."""
    for path in payload(remote):
        content = path.read_bytes()
        if how == "missing":
            path.unlink()
        else:
            path.write_bytes(content[:-1] if how == "truncated" else bytes([content[0] ^ 1]) + content[1:])
