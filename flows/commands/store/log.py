"""`uwm store log`."""

from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.errors import ArtifactError
from data_specs.wording import printable
from flows.commands.options import DEFAULT_STORE, JsonOption, StoreOption

if TYPE_CHECKING:
    from data_specs.log_entry import LogEntry
    from tasks.lineage.trust.log_check import LogReport


def log(
    head: Annotated[
        bool,
        typer.Option("--head", help="Print the hash of the newest entry, which stands for all; keep it elsewhere."),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the log with itself and with what the store holds.")
    ] = False,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            "--expect",
            metavar="HEAD",
            help="Verify, and that the log still holds what it held when this was its head; may be given several times.",
        ),
    ] = None,
    acknowledge: Annotated[
        bool,
        typer.Option(
            "--acknowledge", help="Verify, and write into the log which artifacts were put in, changed or lost."
        ),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    json: JsonOption = False,
) -> None:
    """Show what was made, tagged and removed in a store, in order, and find what was done past its log."""
    from tasks.lineage.place import open_root
    from tasks.lineage.trust.log import Log
    from tasks.lineage.trust.log_check import acknowledge as write_down
    from tasks.lineage.trust.log_check import check_log, read_log

    root = open_root(store)
    if head:
        found = Log(root).head()
        if found is None:
            raise ArtifactError(f"there is no log in {root} yet; the first artifact that is made begins it")
        typer.echo(dumps({"head": found}) if json else found)
    if verify or expect or acknowledge:
        _tell((write_down if acknowledge else check_log)(root, expect or []), json=json)
    elif not head:
        for entry in read_log(root).entries:
            typer.echo(entry.model_dump_json(exclude_none=True) if json else printable(_line(entry)))


def _line(entry: "LogEntry") -> str:
    what = f"{entry.kind} {entry.version[:16]}" if entry.kind and entry.version else ""
    details = " ".join(f"{name}={value}" for name, value in entry.details.items())
    told = f"{entry.number:6} {entry.time[:19]} {entry.event:9} {what} {details}".rstrip()
    return f"{told} by {entry.user}@{entry.host}"


def _tell(report: "LogReport", *, json: bool) -> None:
    """Say what was found.

    Raises:
        ArtifactError: something is wrong.
    """
    if json:
        typer.echo(
            dumps({"entries": len(report.entries), "head": report.head, "faults": report.faults, "notes": report.notes})
        )
    else:
        for note in report.notes:
            typer.echo(printable(note), err=True)
    faults = report.faults
    for fault in faults[1:]:
        typer.echo(printable(f"fault: {fault}"), err=True)
    if faults:
        raise ArtifactError(f"{len(faults)} faults found by the log: {faults[0]}")
    if not json:
        typer.echo(f"{len(report.entries)} entries as recorded; head {report.head}")
