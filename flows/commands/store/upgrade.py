"""`uwm store upgrade`."""

from dataclasses import asdict
from json import dumps

import typer

from flows.commands.options import DEFAULT_STORE, JsonOption, StoreOption


def upgrade(store: StoreOption = DEFAULT_STORE, json: JsonOption = False) -> None:
    """Rewrite manifests of older releases in today's format; versions and files stay. No run may go on meanwhile."""
    from tasks.lineage.store import Store
    from tasks.lineage.upgrading import upgrade_manifests

    found = upgrade_manifests(Store(store))
    if json:
        typer.echo(dumps(asdict(found)))
        return
    typer.echo(f"{found.n_artifacts} artifacts: {found.n_older} manifests of an older format rewritten")
    if found.n_above:
        typer.echo(f"{found.n_above} made of these name them by their new digests; sign again what was signed")
