"""`uwm reproduce`."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_specs.errors import ArtifactError, SpecError
from data_specs.wording import printable, shown_path
from flows.commands.options import (
    DEFAULT_STORE,
    REFERENCE_HELP,
    DeviceOption,
    JsonOption,
    SetOption,
    WorkersOption,
    grouped,
)
from flows.commands.start import imported_quickly

if TYPE_CHECKING:
    from flows.reproducing.reproduction import OtherFile, Reproduction

_STORE_VARIABLE = "UWM_STORE"
_MOST_TOLD = 3


@dataclass(frozen=True)
class Stores:
    """Where the artifact lies, and where it is made again."""

    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="NEW",
            help="Empty folder to make it in, kept; default: a temporary one. A store that is there is taken for --from.",
        ),
    ] = None
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Store with the artifact's manifest and the records of runs; default: UWM_STORE, or store.",
        ),
    ] = None

    @property
    def source(self) -> str:
        """The store with the artifact."""
        if self.origin is None and self.store is not None and _has_content(self.store):
            return self.store
        return self.origin or os.environ.get(_STORE_VARIABLE) or DEFAULT_STORE

    @contextmanager
    def new(self) -> Iterator[Path]:
        """An empty folder, removed afterwards unless it was named.

        Raises:
            SpecError: the one that was named is not empty.
        """
        if self.store is not None and self.store != self.source:
            if _has_content(self.store):
                raise SpecError(f"--store {shown_path(self.store)} is not empty; name a folder that is, or none")
            yield Path(self.store)
            return
        folder = Path(tempfile.mkdtemp(prefix="uwm-reproduced-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _has_content(folder: str) -> bool:
    place = Path(folder)
    return place.is_dir() and any(place.iterdir())


@grouped
def reproduce(
    reference: Annotated[str, typer.Argument(metavar="REF", help=REFERENCE_HELP)],
    stores: Stores = Stores(),
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    changes: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Make an artifact again in an empty store, from its manifest and what lies outside, and compare it byte by byte."""
    with imported_quickly():
        from flows.commands.display import progress_shown
        from flows.references import find_reference
        from flows.reproducing.reproduction import environment_of, reproduce_artifact
        from tasks.lineage.store import Store

    source = Store(stores.source)
    ref = find_reference(source, reference)
    environment = environment_of(source, ref, device)
    for name, (then, now) in environment.items():
        typer.echo(printable(f"made with {name} {then}, here {now}"), err=True)
    with stores.new() as folder, progress_shown():
        found = reproduce_artifact(source, ref, folder, device=device, workers=workers, changes=changes or ())
    found.environment = environment
    if json:
        typer.echo(dumps(_as_json(found)))
    if not found.is_equal:
        raise ArtifactError(_difference(found))
    if not json:
        others = len(found.compared) - 1
        and_all = f", and so do the {others} artifacts on the way to it" if others else ""
        typer.echo(f"{ref.kind} {ref.version[:16]} comes out with the same bytes{and_all}")


def _as_json(found: "Reproduction") -> dict[str, Any]:
    artifacts = [
        {"kind": ref.kind, "version": ref.version, "equal": not files, "files": [vars(file) for file in files]}
        for ref, files in found.compared.items()
    ]
    first = found.first_difference
    return {
        "kind": found.ref.kind,
        "version": found.ref.version,
        "equal": found.is_equal,
        "first_difference": None if first is None else {"kind": first[0].kind, "version": first[0].version},
        "instead": found.instead or None,
        "environment": {name: [*values] for name, values in found.environment.items()},
        "artifacts": artifacts,
    }


def _difference(found: "Reproduction") -> str:
    """What differed first, and in what this environment is another."""
    first, label = found.first_difference, f"{found.ref.kind} {found.ref.version[:12]}"
    environment = [f"{name} {then} then, {now} now" for name, (then, now) in found.environment.items()]
    because = "; ".join(environment) or "no library, machine or device that is recorded differs"
    if first is None:
        return f"{label} was not made again: {found.instead}; {because}"
    ref, files = first
    told = ", ".join(map(_told, files[:_MOST_TOLD])) + (
        f" and {len(files) - _MOST_TOLD} more" if files[_MOST_TOLD:] else ""
    )
    return f"{label} does not come out with the same bytes: first {ref.kind} {ref.version[:12]} differs, in {told}; {because}"


def _told(file: "OtherFile") -> str:
    then, now = ((digest or "none")[:12] for digest in (file.expected, file.found))
    return f"{file.path} (sha256 {now}, expected {then})"
