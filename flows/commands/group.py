"""The command line: all commands and groups of commands, a row each.

A row holds the name, where the function or the group is, and the first line of its own help, which `uwm -h` and shells show.
"""

import typer

from flows.commands.later import Later, group_of
from flows.commands.version import common

app = typer.Typer(
    name="uwm",
    cls=group_of(
        Later(
            "init",
            "flows.commands.init:init",
            "Write a settings file that runs as it is: shards for calibration and others for evaluation, with what they hold.",
        ),
        Later("run", "flows.commands.run:run", "Edit a model and compare it with the original."),
        Later(
            "demo",
            "flows.commands.demo:demo",
            "Draw pictures, train a tiny model, make it safer, and compare it with controls and other methods.",
        ),
        Later(
            "plan",
            "flows.commands.plan:plan",
            "Say what `uwm run` would find, what it would make, and what that takes; nothing is made.",
        ),
        Later(
            "config",
            "flows.commands.config:config",
            "Check the settings and print them as JSON with absolute paths, as a deployment takes them.",
        ),
        Later("sweep", "flows.commands.experiments:sweep", "Measure a model edited with every tau and alpha."),
        Later(
            "compare",
            "flows.commands.experiments:compare",
            "Measure several ways to edit on the same pairs: one table with controls and the paper's own figures.",
        ),
        Later(
            "ablate",
            "flows.commands.experiments:ablate",
            "Measure every combination of settings; without any, scorers, aggregations, rules and weighting by |W|.",
        ),
        Later(
            "caption",
            "flows.commands.caption:caption",
            "Caption pictures with a LLaVA before and after the edit of its vision tower, and have the captions judged.",
        ),
        Later(
            "reevaluate",
            "flows.commands.reevaluate:reevaluate",
            "Measure the models of a watch on its sets, with only what is new computed, and hold them against its gates.",
        ),
        Later(
            "serve",
            "flows.commands.serve:serve",
            "Measure a watch again by a schedule, one night at a time, until this is stopped by Ctrl-C or SIGTERM.",
        ),
        Later("export", "flows.commands.export:export", "Write an edited model as a folder with a model card."),
        Later(
            "results",
            "flows.commands.results:results",
            "Show what all runs of a store measured, from the records that they left.",
        ),
        Later(
            "history",
            "flows.commands.history:history",
            "Show what every model measured on every set over time, and which nights have no result.",
        ),
        Later(
            "report",
            "flows.commands.report:report",
            "Write several runs side by side, or all of a watch, into one page that needs no network.",
        ),
        Later(
            "audit",
            "flows.commands.audit:audit",
            "Write the evidence behind an artifact into one file that checks itself, without pictures and captions.",
        ),
        Later(
            "reproduce",
            "flows.commands.reproduce:reproduce",
            "Make an artifact again in an empty store, from its manifest and what lies outside, and compare it byte by byte.",
        ),
        Later(
            "sign", "flows.commands.sign:sign", "Sign an artifact, after comparing it with its manifest, or a folder."
        ),
        Later(
            "verify-signature",
            "flows.commands.sign:verify_signature",
            "Make sure that one of the keys has signed an artifact, or a folder, as it is now.",
        ),
        Later(
            "tag",
            "flows.commands.tag:tag",
            "Name an artifact, show what a name stands for and who said so, or list all names.",
        ),
        Later("shards", "flows.commands.shards:app", "Make shards and check them."),
        Later("edit", "flows.commands.edit:app", "Make an edit, apply it to a checkpoint, or undo it."),
        Later("artifacts", "flows.commands.artifacts:app", "Look at the store and check it."),
        Later("lineage", "flows.commands.lineage.group:app", "Ask where a number comes from."),
        Later("store", "flows.commands.store.group:app", "Look after a store, and share it with others."),
    ),
    callback=common,
    help="Make a vision-language model safer without training, and measure it (UWM and SafeGround).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
