"""`uwm lineage verify`: everything hashed again."""

from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.errors import ArtifactError, SpecError
from data_specs.wording import printable
from flows.commands.options import DEFAULT_STORE, JsonOption, ReferenceArgument, StoreOption

if TYPE_CHECKING:
    from tasks.lineage.checking.faults import Fault
    from tasks.lineage.checking.verification import Outside, Verified

_MOST_TOLD = 3


def verify(
    reference: ReferenceArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="All artifacts of the store.")] = False,
    inputs: Annotated[
        bool,
        typer.Option("--inputs", help="Shards and weights outside the store, too, where they lie on this machine."),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    json: JsonOption = False,
) -> None:
    """Hash everything again, of an artifact and of all it was made of, and list all that is not as it was recorded."""
    from flows.references import find_reference
    from tasks.lineage.checking.verification import faults_in_words, outside_of, verified, whole_store
    from tasks.lineage.store import Store

    if (reference is None) != everything:
        raise SpecError("give the REF of an artifact, or --all for the whole store")
    opened = Store(store)
    if reference is None:
        items, faults = whole_store(opened)
    else:
        items, faults = [*verified(opened, [find_reference(opened, reference)])], []
    outside = outside_of(item.manifest for item in items if item.manifest is not None) if inputs else None
    faults += [fault for item in items for fault in item.faults]
    faults += outside.faults if outside is not None else []
    if json:
        typer.echo(dumps(_as_json(items, outside, faults)))
    else:
        _tell(items, outside, faults)
    if faults:
        raise ArtifactError(faults_in_words(faults))


def _tell(items: "list[Verified]", outside: "Outside | None", faults: "list[Fault]") -> None:
    for item in items:
        if not item.faults and item.manifest is not None:
            lacking = "files dropped" if item.pruned else "files in a remote" if item.elsewhere else ""
            files = f"{lacking}, manifest" if lacking else f"{len(item.manifest.files)} files"
            older = ", in format 1: nothing covers its manifest" if item.manifest.format == 1 else ""
            typer.echo(printable(f"{item.ref.kind} {item.ref.version[:16]}: {files} as recorded{older}"))
    if outside is not None:
        typer.echo(f"outside the store: {outside.n_hashed - len(outside.faults)} files as recorded")
        if outside.unreachable:
            some = ", ".join(outside.unreachable[:_MOST_TOLD])
            typer.echo(printable(f"not on this machine, so not looked at: {len(outside.unreachable)}, such as {some}"))
    for fault in faults:
        typer.echo(printable(f"{fault.wrong}: {fault.text}"))


def _as_json(items: "list[Verified]", outside: "Outside | None", faults: "list[Fault]") -> dict[str, object]:
    manifests = [item.manifest for item in items if item.manifest is not None]
    return {
        "artifacts": len(items),
        "files": sum(len(manifest.files) for manifest in manifests),
        "pruned": [item.ref.version for item in items if item.pruned],
        "elsewhere": [item.ref.version for item in items if item.elsewhere],
        "format_1": [manifest.version for manifest in manifests if manifest.format == 1],
        "outside": None if outside is None else {"files": outside.n_hashed, "unreachable": outside.unreachable},
        "faults": [
            {
                "wrong": fault.wrong,
                "kind": None if fault.artifact is None else fault.artifact.kind,
                "version": None if fault.artifact is None else fault.artifact.version,
                "place": fault.place,
                "text": fault.text,
            }
            for fault in faults
        ],
    }
