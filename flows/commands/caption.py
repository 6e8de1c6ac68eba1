"""`uwm caption`."""

from typing import Annotated

import typer

from data_specs.config_file import load_config
from data_specs.run_result import RunResult
from flows.commands.options import ConfigArgument, RunOptions, grouped
from flows.commands.start import finish, in_prefect


@grouped
def caption(
    config: ConfigArgument,
    judge_again: Annotated[
        bool,
        typer.Option("--judge-again", help="Ask endpoints about every caption anew; their former answers are kept."),
    ] = False,
    options: RunOptions = RunOptions(),  # noqa: B008  (frozen)
) -> None:
    """Caption pictures with a LLaVA before and after the edit of its vision tower, and have the captions judged."""
    settings = load_config(config, options.changed)

    def start() -> RunResult:
        from flows.captions.caption import caption_edit

        result: RunResult = caption_edit(settings, options.place, options.placement, options.workers, judge_again)
        return result

    finish(in_prefect(start, options.store, [settings]), options.json, allow_overlap=options.allow_overlap)
