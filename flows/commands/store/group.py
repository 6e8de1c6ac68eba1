"""`uwm store` and its commands, a module each or a few that belong together."""

import typer

from flows.commands.later import Later, group_of, no_options

app = typer.Typer(
    cls=group_of(
        Later(
            "log",
            "flows.commands.store.log:log",
            "Show what was made, tagged and removed in a store, in order, and find what was done past its log.",
        ),
        Later(
            "upgrade",
            "flows.commands.store.upgrade:upgrade",
            "Rewrite manifests of older releases in today's format; versions and files stay. No run may go on meanwhile.",
        ),
        Later(
            "status",
            "flows.commands.store.exchange:status",
            "Say of each kind how many artifacts are here, in each remote, and in only one of the two.",
        ),
        Later(
            "push",
            "flows.commands.store.exchange:push",
            "Put artifacts, and what they were made of, into remotes; what is there stays as it is.",
        ),
        Later(
            "pull",
            "flows.commands.store.exchange:pull",
            "Bring artifacts here from the first remote that has them; each file is hashed.",
        ),
        Later(
            "gc",
            "flows.commands.store.gc:gc",
            "Drop files that can be made again, and what killed processes left; manifests stay, and what a run uses.",
        ),
        Later(
            "restore",
            "flows.commands.store.gc:restore",
            "Make the files of an artifact again that were dropped; they come out with the same bytes, or it is an error.",
        ),
    ),
    callback=no_options,
    help="Look after a store, and share it with others.",
    no_args_is_help=True,
)
