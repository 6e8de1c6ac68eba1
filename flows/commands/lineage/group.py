"""The command group `uwm lineage`."""

import typer

from flows.commands.later import Later, group_of, no_options

app = typer.Typer(
    cls=group_of(
        Later(
            "show",
            "flows.commands.lineage.show:show",
            "Show what an artifact, or all that a run made, was made of, down to shards and weights.",
        ),
        Later(
            "diff",
            "flows.commands.lineage.diff:diff",
            "Walk down from two numbers to the first things that differ, and say what followed from each; nothing where nothing does.",
        ),
        Later(
            "uses",
            "flows.commands.lineage.uses:uses",
            "Show everything that was made from it, edits and exports too: this picture must go, what did it touch?",
        ),
        Later(
            "sql",
            "flows.commands.lineage.sql:sql",
            "Answer a SELECT over all manifests, runs and tags; nothing else can be read, nothing changed.",
        ),
        Later(
            "verify",
            "flows.commands.lineage.verify:verify",
            "Hash everything again, of an artifact and of all it was made of, and list all that is not as it was recorded.",
        ),
    ),
    callback=no_options,
    help="Ask where a number comes from.",
    no_args_is_help=True,
)
