"""`uwm artifacts list`, `show` and `verify`."""

from collections import Counter
from collections.abc import Sequence
from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.errors import ArtifactError
from data_specs.manifest import PART
from data_specs.wording import printable
from flows.artifact_uses import ArtifactUse, artifact_uses
from flows.commands.options import DEFAULT_STORE, REFERENCE_HELP, JsonOption, StoreOption

if TYPE_CHECKING:
    from tasks.lineage.listing import Survey

_SHOWN_FIGURES = ("GS", "PS")

app = typer.Typer(help="Look at the store and check it.", no_args_is_help=True)
VersionArgument = Annotated[str, typer.Argument(metavar="REF", help=REFERENCE_HELP)]


@app.command("list")
def list_artifacts(store: StoreOption = DEFAULT_STORE, json: JsonOption = False) -> None:
    """List all artifacts."""
    from rich import box
    from rich.filesize import decimal
    from rich.table import Table

    from flows.commands.console import output
    from tasks.lineage.listing import survey
    from tasks.lineage.place import open_root

    root = open_root(store)
    if not root.exists():
        typer.echo(f"there is no store in {root} yet", err=True)
    surveyed = survey(root)
    # The longest kind fits into 80 columns; what a narrower screen has no room for goes on in the next line.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for head in ("kind", "version", "made", "files", "size"):
        table.add_column(head, overflow="fold")
    parts: Counter[str] = Counter()
    uses = artifact_uses(root)
    for item in surveyed.found:
        ref, manifest = item.ref, item.manifest
        entry: dict[str, str | int | bool | None] = {"kind": ref.kind, "version": ref.version, "path": str(item.folder)}
        if manifest is None:
            entry |= {"problem": item.problem}
            table.add_row(ref.kind, ref.version[:16], "broken", "", "")
        else:
            size = sum(file.size_bytes for file in manifest.files)
            made = manifest.circumstances.ended[:19]
            entry |= {"made": made, "files": len(manifest.files), "size_bytes": size, "dropped": item.pruned}
            if ref.kind.endswith(PART):
                parts[ref.kind] += 1
            else:
                use = uses.get(ref.version)
                if use is not None:
                    entry |= vars(use)
                cells = _with_use((ref.kind, ref.version[:16], made), use)
                table.add_row(*cells, "dropped" if item.pruned else str(len(manifest.files)), decimal(size))
        if json:
            typer.echo(dumps(entry))
    for kind, n in sorted(parts.items()):
        table.add_row(kind, f"{n} parts", "", "", "")
    if not json:
        output.print(table)
    _report(surveyed)


def _with_use(cells: Sequence[str], use: ArtifactUse | None) -> Sequence[str]:
    """Below kind, version and time: the run, the model, and what was measured."""
    if use is None:
        return cells
    figures = " ".join(f"{name} {use.figures[name]:.1f}" for name in _SHOWN_FIGURES if name in use.figures)
    return [f"{cell}\n{told}" for cell, told in zip(cells, (f"  {use.run}", use.model, figures), strict=True)]


def _report(surveyed: "Survey") -> None:
    """Say what is wrong with a store, after all that is well was listed.

    Raises:
        ArtifactError: something is broken.
    """
    if surveyed.copies:
        typer.echo(
            f"passed over, under names that no artifact has: {len(surveyed.copies)}, such as {surveyed.copies[0]}",
            err=True,
        )
    problems = [f"cannot read {folder}" for folder in surveyed.unreadable]
    problems += [item.problem for item in surveyed.broken if item.problem]
    for problem in problems[1:]:
        typer.echo(f"broken: {' '.join(problem.split())}", err=True)
    if problems:
        raise ArtifactError(f"{len(problems)} of {len(surveyed.found)} artifacts broken: {problems[0]}")


@app.command("show")
def show(version: VersionArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Print an artifact's manifest and what it was made of, back to the shards."""
    from flows.commands.console import output
    from flows.references import find_reference
    from tasks.lineage.store import Store
    from tasks.lineage.trace import lineage_lines

    opened = Store(store)
    ref = find_reference(opened, version)
    output.print_json(opened.manifest(ref).model_dump_json(), ensure_ascii=True)
    for line in lineage_lines(opened, ref):
        typer.echo(printable(line))


@app.command("verify")
def verify(version: VersionArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Hash every file of an artifact and of all it was made of; the same as `uwm lineage verify VERSION`."""
    from flows.commands.lineage.verify import verify as verify_all

    verify_all(version, everything=False, inputs=False, store=store, json=False)
