"""The command group `uwm lineage`."""

import typer

from flows.commands.lineage import diff, show, sql, uses, verify

app = typer.Typer(help="Ask where a number comes from.", no_args_is_help=True)
app.command("show")(show.show)
app.command("diff")(diff.diff)
app.command("uses")(uses.uses)
app.command("sql")(sql.sql)
app.command("verify")(verify.verify)
