"""`uwm artifacts list`, `show` and `verify`."""

from json import dumps
from typing import Annotated

import typer

from data_specs.wording import printable
from flows.commands.options import DEFAULT_STORE, JsonOption, StoreOption

app = typer.Typer(help="Look at the store and check it.", no_args_is_help=True)
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Version, or the beginning of one.")]


@app.command("list")
def list_artifacts(store: StoreOption = DEFAULT_STORE, json: JsonOption = False) -> None:
    """List all artifacts."""
    from rich.table import Table

    from flows.commands.display import output
    from tasks.lineage.store import Store

    opened = Store(store)
    table = Table("kind", "version", "made", "files", "size, MB")
    for ref in opened.refs():
        manifest = opened.manifest(ref)
        size = sum(file.size_bytes for file in manifest.files)
        made = manifest.circumstances.ended[:19]
        if json:
            entry = {"kind": ref.kind, "version": ref.version, "made": made, "path": str(opened.path(ref))}
            typer.echo(dumps(entry | {"files": len(manifest.files), "size_bytes": size}))
        table.add_row(ref.kind, ref.version[:16], made, str(len(manifest.files)), f"{size / 1e6:.1f}")
    if not json:
        output.print(table)


@app.command("show")
def show(version: VersionArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Print an artifact's manifest and what it was made of, back to the shards."""
    from flows.commands.display import output
    from tasks.lineage.store import Store
    from tasks.lineage.trace import lineage_lines

    opened = Store(store)
    ref = opened.find(version)
    output.print_json(opened.manifest(ref).model_dump_json(), ensure_ascii=True)
    for line in lineage_lines(opened, ref):
        typer.echo(printable(line))


@app.command("verify")
def verify(version: VersionArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Hash every file of an artifact and of all it was made of."""
    from tasks.lineage.store import Store
    from tasks.lineage.trace import verify_lineage

    opened = Store(store)
    for ref, n_files in verify_lineage(opened, opened.find(version)):
        typer.echo(printable(f"{ref.kind} {ref.version[:16]}: {n_files} files as recorded"))
