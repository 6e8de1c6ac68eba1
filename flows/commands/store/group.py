"""`uwm store` and its commands, a module each or a few that belong together."""

import typer

from flows.commands.store import exchange, gc, log, upgrade

app = typer.Typer(help="Look after a store, and share it with others.", no_args_is_help=True)
app.command("log")(log.log)
app.command("upgrade")(upgrade.upgrade)
app.command("status")(exchange.status)
app.command("push")(exchange.push)
app.command("pull")(exchange.pull)
app.command("gc")(gc.gc)
app.command("restore")(gc.restore)
