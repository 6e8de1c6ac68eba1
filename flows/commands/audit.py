"""`uwm audit`."""

from pathlib import Path
from typing import Annotated

import typer

from data_specs.wording import printable
from flows.commands.options import DEFAULT_STORE, REFERENCE_HELP, StoreOption


def audit(
    reference: Annotated[str, typer.Argument(metavar="REF", help=REFERENCE_HELP)],
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE.zip", help="The file to make.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the evidence behind an artifact into one file that checks itself, without pictures and captions."""
    from flows.references import find_reference
    from tasks.auditing.bundle import write_bundle
    from tasks.lineage.place import require_local
    from tasks.lineage.store import Store

    require_local(out, "--out")
    opened = Store(store)
    evidence = write_bundle(opened, find_reference(opened, reference), out.absolute())
    for sentence in evidence.left_out:
        typer.echo(f"left out: {sentence}", err=True)
    n_absent = len(evidence.absent)
    if n_absent:
        first = evidence.absent[0]
        typer.echo(
            f"not in the store any more: {n_absent} artifacts, such as {first.kind} {first.version[:16]}", err=True
        )
    typer.echo(printable(f"wrote {out}: {len(evidence.files)} files; check it with `python verify.py` from inside"))
