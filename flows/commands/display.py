"""What a person sees: progress while a run goes on, tables at its end. Everything but results goes to stderr."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from data_specs.evaluation_files import read_differences
from data_specs.experiment_files import experiment_file, read_experiment
from data_specs.figures import Difference
from data_specs.metrics import METRICS, find_metric, shown_p
from data_specs.run_result import RunResult
from data_specs.wording import printable
from flows.captions.shown import caption_rows
from flows.commands.console import output, screen
from flows.commands.plan_table import shown_seconds
from flows.commands.time_left import ITEMS, at_item, done_line, item_done, seconds_left
from flows.verdicts import chance_of, verdict_of, warnings_of
from tasks.lineage.progress import listening
from tasks.tables.kinds import KINDS
from tasks.tables.terminal import experiment_table

_PLACES: dict[str, str] = {
    "edit": "edit.safetensors",
    "model": "model.safetensors",
    "evaluation.original": "metrics.json",
    "evaluation.edited": "metrics.json",
    **{kind: experiment_file(kind, "csv") for kind in KINDS},
    "report": "report.html",
}
_NOTE = (
    "Brackets: 95 % interval of the difference on the same pairs. p: McNemar's exact test, not adjusted for the lines."
)
_MODELS = ("original", "edited", "random_control")
_TOLD_SECONDS = 0.5
_WIDTH_WITH_EXPLANATIONS = 130
_LONG_NAME = len("unsafe_share.unsafe.words")


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields['unit']}/s" if speed and task.total else "", style="dim")


class _LeftColumn(TimeRemainingColumn):
    """Of points and models, which take minutes each, by the mean of all so far: rich forgets after half a minute."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if task.fields["unit"] not in ITEMS:
            return super().render(task)
        left = seconds_left(task.completed, task.total, task.elapsed or 0.0)
        return Text("" if left is None else f"about {shown_seconds(left)}", style="progress.remaining")


class _Bars:
    """A bar for each stage that goes on, and a line for what is done, for a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def start(self, stage: str, total: int | None, unit: str) -> None:
        told = printable(at_item(stage, 0, total, unit))
        self._bars[stage] = self._progress.add_task(told, total=total, unit=unit)

    def advance(self, stage: str, n: int) -> None:
        if stage in self._bars:
            bar = self._bars[stage]
            self._progress.advance(bar, n)
            task = self._progress.tasks[self._progress.task_ids.index(bar)]
            if task.fields["unit"] in ITEMS and not task.finished:
                total = None if task.total is None else int(task.total)
                told = at_item(stage, int(task.completed), total, task.fields["unit"])
                self._progress.update(bar, description=printable(told))

    def finish(self, stage: str) -> None:
        bar = self._bars.pop(stage)
        task = self._progress.tasks[self._progress.task_ids.index(bar)]
        seconds = task.elapsed or 0.0
        # An experiment has more stages than a screen has lines: what is done scrolls away, what was quick is not told.
        self._progress.remove_task(bar)
        if seconds >= _TOLD_SECONDS:
            done = done_line(stage, int(task.completed), task.fields["unit"], seconds)
            self._progress.console.print(Text("✓ ", style="green").append(done, style="default"))

    def notice(self, text: str) -> None:
        self._progress.console.print(text, style="yellow", markup=False)


class _Lines:
    """A line a finished stage, for a log file."""

    def __init__(self, told_from: float) -> None:
        self._started: dict[str, tuple[float, str, int]] = {}
        self._told_from = told_from
        self._totals: dict[str, int | None] = {}

    def start(self, stage: str, total: int | None, unit: str) -> None:
        self._totals[stage] = total
        self._started[stage] = (time.perf_counter(), unit, 0)

    def advance(self, stage: str, n: int) -> None:
        if stage in self._started:
            start, unit, done = self._started[stage]
            self._started[stage] = (start, unit, done + n)
            if unit in ITEMS:
                spent = time.perf_counter() - start
                screen.print(item_done(stage, done + n, self._totals[stage], unit, spent), markup=False)

    def finish(self, stage: str) -> None:
        start, unit, done = self._started.pop(stage)
        seconds = time.perf_counter() - start
        if seconds >= self._told_from:
            screen.print(done_line(stage, done, unit, seconds), markup=False)

    def notice(self, text: str) -> None:
        screen.print(text, markup=False)


@contextmanager
def progress_shown(*, told_from: float = 0.0) -> Iterator[None]:
    """Show progress on stderr for as long as the block lasts; a log file is told stages of `told_from` seconds and more."""
    if not screen.is_terminal:
        with listening(_Lines(told_from)):
            yield
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        _LeftColumn(),
    )
    with Progress(*columns, console=screen) as progress, listening(_Bars(progress)):
        yield


def metrics_table(
    metrics: Mapping[str, Mapping[str, float]],
    differences: Mapping[str, Difference],
    chance: Mapping[str, float],
    title: str,
) -> Table:
    """Before, after and difference in points with its interval and p; further models get a column each, and so does chance."""
    first, *others = metrics
    table = Table(title=title, title_justify="left")
    table.add_column("metric, percent")
    for name in metrics:
        table.add_column(name.replace("_", " "), justify="right")
    if "edited" in others:
        table.add_column("edited − original", justify="right", no_wrap=True)
        table.add_column("p", justify="right")
        table.caption, table.caption_justify = _NOTE, "left"
    table.add_column("chance", justify="right", style="dim")
    explained = output.width >= _WIDTH_WITH_EXPLANATIONS
    if explained:
        table.add_column("counts", style="dim")
    for name, metric in METRICS.items():
        if name not in metrics[first]:
            continue
        cells: list[str | Text] = [metric.shown(values[name], more=1) for values in metrics.values()]
        if "edited" in others:
            found = differences[name]
            cells.append(_points(found))
            cells.append("" if found.p is None else shown_p(found.p))
        level = metric.shown(chance[name]) if name in chance else ""
        table.add_row(name, *cells, level, *([metric.meaning] if explained else []))
    return table


def _points(found: Difference) -> Text:
    metric = find_metric(found.metric)
    difference = metric.shown(found.difference, more=1, sign="+")
    low, high = metric.shown(found.low, sign="+"), metric.shown(found.high, sign="+")
    return Text(difference, style=metric.colour(found.difference)).append(f" [{low}, {high}]", style="dim")


def _caption_table(captions: Mapping[str, Any]) -> Table:
    """A row a figure; see `caption_rows`."""
    table = Table(caption=captions["caption"], caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for number, head in enumerate(captions["heads"]):
        justify: Literal["left", "right"] = "right" if number else "left"
        table.add_column(head.replace("_", " "), justify=justify, no_wrap=not number, overflow="fold")
    for name, *cells in captions["rows"]:
        # In 80 columns three models and two differences leave seven letters to each.
        told = name if len(name) <= _LONG_NAME else name.replace(".", "\n.", 1)
        table.add_row(Text(told), *(Text(cell.replace(" [", "\n[").replace(", ", ",\n")) for cell in cells))
    return table


def show_result(result: RunResult, *, allow_overlap: bool = False) -> None:
    """Print a run's end for a person; `allow_overlap` leaves out what calibration and evaluation share."""
    shown = {
        name: result.metrics[name]
        for name in _MODELS
        if name in result.metrics and f"evaluation.{name}" in result.artifacts
    }
    if "differences.edited" in result.artifacts:
        n_pairs = int(shown["original"]["n_pairs"])
        differences = read_differences(Path(result.artifacts["differences.edited"].path))
        title = f"{result.name}: {n_pairs} evaluation pairs"
        output.print(metrics_table(shown, differences, chance_of(result.artifacts), title))
    if (captions := caption_rows(result, scores=not shown)) is not None:
        output.print(_caption_table(captions))
    for kind in KINDS:
        if kind in result.artifacts:
            experiment = read_experiment(Path(result.artifacts[kind].path), kind)
            output.print(experiment_table(experiment, width=output.width))
    for sentence in verdict_of(result):
        output.print(sentence, markup=False)
    for sentence in [] if allow_overlap else warnings_of(result):
        output.print(f"warning: {sentence}", markup=False)
    for role, file in _PLACES.items():
        if role in result.artifacts:
            output.print(f"{role:20} {result.artifacts[role].path}/{file}", markup=False)
    # Points of a sweep and models of a comparison are told as one stage.
    seconds: dict[str, float] = {}
    for stage, spent in result.seconds.items():
        what = stage.partition(".")[0]
        seconds[what] = seconds.get(what, 0.0) + spent
    spent_text = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in seconds.items() if spent >= 0.1)
    output.print(f"{result.computed} artifacts computed, {result.reused} reused ({spent_text})", markup=False)
