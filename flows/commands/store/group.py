"""`uwm store` and its commands, a module each."""

import typer

from flows.commands.store import log, upgrade

app = typer.Typer(help="Look after a store.", no_args_is_help=True)
app.command("log")(log.log)
app.command("upgrade")(upgrade.upgrade)
