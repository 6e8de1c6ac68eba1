"""`uwm store push`, `pull` and `status`."""

from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.errors import ArtifactError
from data_specs.wording import one_line, printable
from flows.commands.options import DEFAULT_STORE, JsonOption, RemoteOption, StoreOption, store_place

if TYPE_CHECKING:
    from flows.remotes.exchange import Exchanged

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VERSION|NAME[:ROLE]]…", help="Versions or runs, or their beginnings; default: all."),
]


def push(names: NamesArgument = None, store: StoreOption = DEFAULT_STORE, remote: RemoteOption = None) -> None:
    """Put artifacts, and what they were made of, into remotes; what is there stays as it is."""
    from flows.commands.display import progress_shown
    from flows.remotes.exchange import open_shared, push_artifacts

    opened, remotes = open_shared(store_place(store, remote))
    with progress_shown():
        done = [push_artifacts(opened, each, names or []) for each in remotes.remotes]
    for item in done:
        _say(item, "put into")


def pull(
    names: NamesArgument = None,
    store: StoreOption = DEFAULT_STORE,
    remote: RemoteOption = None,
    inputs: Annotated[
        bool, typer.Option("--inputs", help="Bring the files of what they were made of, too, not only its manifests.")
    ] = False,
) -> None:
    """Bring artifacts here from the first remote that has them; each file is hashed."""
    from flows.commands.display import progress_shown
    from flows.remotes.exchange import open_shared, pull_artifacts

    opened, remotes = open_shared(store_place(store, remote))
    with progress_shown():
        done = pull_artifacts(opened, remotes, names or [], inputs=inputs)
    _say(done, "brought from")


def status(store: StoreOption = DEFAULT_STORE, remote: RemoteOption = None, json: JsonOption = False) -> None:
    """Say of each kind how many artifacts are here, in each remote, and in only one of the two."""
    from rich import box
    from rich.table import Table

    from flows.commands.console import output
    from flows.remotes.exchange import open_shared, status_of

    rows = status_of(*open_shared(store_place(store, remote)))
    if json:
        for row in rows:
            typer.echo(dumps(vars(row)))
        return
    for url in dict.fromkeys(row.url for row in rows):
        own = [row for row in rows if row.url == url]
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, title=url, title_justify="left")
        for head in ("kind", "here", "there", "to push", "to pull"):
            table.add_column(head, justify="left" if head == "kind" else "right")
        for row in own:
            table.add_row(row.kind, *map(str, (row.here, row.there, row.to_push, row.to_pull)))
        output.print(table)
    typer.echo(f"{sum(row.to_push for row in rows)} to push, {sum(row.to_pull for row in rows)} to pull")


def _say(done: "Exchanged", how: str) -> None:
    """Say what was exchanged.

    Raises:
        ArtifactError: something was not.
    """
    from rich.filesize import decimal

    typer.echo(
        printable(
            f"{done.n_artifacts} artifacts {how} {done.url} ({decimal(done.n_bytes)}), {done.n_there} were there already"
        )
    )
    for text in done.failed[1:]:
        typer.echo(f"failed: {one_line(text)}", err=True)
    if done.failed:
        raise ArtifactError(f"{len(done.failed)} artifacts were not {how} {done.url}: {done.failed[0]}")
