"""The command group `uwm lineage`."""

import typer

from flows.commands.lineage import show, sql

app = typer.Typer(help="Ask where a number comes from.", no_args_is_help=True)
app.command("show")(show.show)
app.command("sql")(sql.sql)
