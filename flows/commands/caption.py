"""`uwm caption`."""

from pathlib import Path
from typing import Annotated

import typer

from data_specs.config_file import load_config
from data_specs.run_result import RunResult
from flows.commands.options import ConfigArgument, RunOptions, grouped
from flows.commands.start import finish, in_prefect

_MODELS = ("original", "edited", "random")


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
        from flows.caption import caption_edit

        result: RunResult = caption_edit(settings, options.place, options.placement, options.workers, judge_again)
        return result

    result = in_prefect(start, options.store, [settings])
    if not options.json:
        _show(result)
    finish(result, options.json, allow_overlap=options.allow_overlap)


def _show(result: RunResult) -> None:
    """A table of all figures: of each model, and how edit and control differ from the original."""
    import pyarrow.parquet as pq
    from rich.table import Table

    from data_specs.caption_metrics import find_caption_metric
    from data_specs.caption_rows import CAPTION_CHANGES_FILE, CAPTION_FIGURES_FILE
    from flows.commands.console import output

    def rows(role: str, file: str) -> dict[str, dict[str, float]]:
        return {row["metric"]: row for row in pq.read_table(Path(result.artifacts[role].path) / file).to_pylist()}

    figures = {name: rows(f"caption_evaluation.{name}", CAPTION_FIGURES_FILE) for name in _MODELS}
    changes = rows("caption_differences.edited", CAPTION_CHANGES_FILE)
    table = Table(title=f"{result.name}: captions")
    for heading in ("figure", *_MODELS, "edited - original [95 %]"):
        first = heading == "figure"
        table.add_column(heading, justify="left" if first else "right", no_wrap=first)
    for name in figures["original"]:
        metric = find_caption_metric(name)
        values = [metric.shown(figures[model][name]["value"]) if name in figures[model] else "" for model in _MODELS]
        change = changes.get(name)
        told = "" if change is None else metric.shown(change["difference"], sign="+")
        if change is not None and change["low"] is not None:
            told += f" [{metric.shown(change['low'])}, {metric.shown(change['high'])}]"
        table.add_row(name, *values, told)
    output.print(table)
