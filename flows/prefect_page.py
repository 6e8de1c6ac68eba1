"""What Prefect shows of a run on a server that outlives it: figures, the report's place, progress, lines a person reads."""

import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from data_specs.experiment_files import read_experiment
from data_specs.run_result import RunResult
from data_specs.wording import first_line, one_line, printable
from flows.commands.plan_table import shown_seconds
from flows.commands.time_left import done_line, seconds_left
from flows.nightly.telling.message import REPORTS_URL, report_link
from flows.server.temporary import is_temporary
from flows.shown_result import measured_rows
from flows.verdicts import verdict_of, warnings_of
from tasks.lineage.progress import ProgressSink, heard_by, listening
from tasks.tables.documents import experiment_markdown
from tasks.tables.escaping import escape_markdown, markdown_table
from tasks.tables.kinds import KINDS

EVERY_SECONDS = 5.0  # between two looks at how far a stage is
_TOLD_SECONDS = 0.5  # a stage that took less gets no line
_NOT_IN_KEYS = re.compile(r"[^a-z0-9]+")


@dataclass
class _Stage:
    total: int | None
    unit: str
    started: float
    done: int = 0
    artifact: UUID | None = None
    over: str = ""  # what is said of it once it is over

    def told(self, name: str) -> str:
        spent = time.perf_counter() - self.started
        if self.over:
            return self.over
        text = f"{name}: {self.done:,}{f' of {self.total:,}' if self.total else ''} {self.unit}"
        if self.done:
            text += f", {self.done / spent:,.1f} {self.unit}/s"
            left = seconds_left(self.done, self.total, spent)
            text += "" if left is None else f", about {shown_seconds(left)} left"
        return text

    @property
    def percent(self) -> float:
        if self.over:
            return 100.0
        return min(100.0, 100 * self.done / self.total) if self.total else 0.0


class PrefectPage:
    """Passes progress on to whoever else listens, and shows it and a run's end on the server; never ends a run itself."""

    def __init__(self, heard: ProgressSink) -> None:
        """Begin inside a flow run; `heard` listened before."""
        self._heard = heard
        self._log = get_run_logger()
        self._stages: dict[str, _Stage] = {}
        self._ended: list[tuple[str, _Stage]] = []
        self._notices: list[str] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        # Speaks in a thread of its own, so that a slow server holds nobody up.
        self._thread = threading.Thread(target=copy_context().run, args=(self._look,), daemon=True)
        self._thread.start()

    def start(self, stage: str, total: int | None, unit: str) -> None:
        """See `ProgressSink`."""
        self._heard.start(stage, total, unit)
        with self._lock:
            self._stages[stage] = _Stage(total, unit, time.perf_counter())

    def advance(self, stage: str, n: int) -> None:
        """See `ProgressSink`."""
        self._heard.advance(stage, n)
        with self._lock:
            if stage in self._stages:
                self._stages[stage].done += n

    def finish(self, stage: str) -> None:
        """See `ProgressSink`."""
        self._heard.finish(stage)
        with self._lock:
            ended = self._stages.pop(stage, None)
            if ended is None:
                return
            seconds = time.perf_counter() - ended.started
            ended.over = done_line(stage, ended.done, ended.unit, seconds)
            self._ended.append((stage, ended))
        if seconds >= _TOLD_SECONDS:
            self._log.info(printable(ended.over))

    def notice(self, text: str) -> None:
        """See `ProgressSink`."""
        self._heard.notice(text)
        self._notices.append(text)
        self._log.warning(printable(text))

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def result(self, results: Sequence[RunResult], record: str) -> None:
        """Show how a run ended well: a page of figures for each of its settings, and where its report lies."""
        for result in results:
            self._log.info(f"{result.computed} artifacts computed, {result.reused} reused; record {record}")
            key = artifact_key(result.name)
            text = result_markdown(result, record, self._notices)
            tried(self._log, create_markdown_artifact, text, f"{key}-result", f"What {result.name} came to")
            if (report := report_place(result)) is not None:
                # Where reports are served, a browser may open them; it opens no file that a page names.
                link = report_link(str(report)) if os.environ.get(REPORTS_URL) else report.as_uri()
                tried(self._log, create_link_artifact, link, str(report), f"{key}-report", "The whole report")

    def _look(self) -> None:
        over = False
        while not over:
            over = self._over.wait(EVERY_SECONDS)
            with self._lock:
                # Of what was over before anybody looked nothing is shown.
                looked_at = [item for item in self._ended if item[1].artifact is not None]
                looked_at += self._stages.items()
                self._ended.clear()
            for name, stage in looked_at:
                said, percent = printable(stage.told(name)), stage.percent
                if stage.artifact is None:
                    key = f"progress-{artifact_key(name)}"
                    stage.artifact = tried(self._log, create_progress_artifact, percent, key, said)
                else:
                    tried(self._log, update_progress_artifact, stage.artifact, percent, said)


@contextmanager
def shown_in_prefect() -> Iterator[PrefectPage | None]:
    """The page of the flow run that the block is in; None outside of one, and where the server ends with the run."""
    if FlowRunContext.get() is None or is_temporary():
        yield None
        return
    page = PrefectPage(heard_by())
    try:
        with listening(page):
            yield page
    finally:
        page.close()


def result_markdown(result: RunResult, record: str, notices: Sequence[str] = ()) -> str:
    """A run's figures, what they say and what they were made of, in GitHub's Markdown.

    Args:
        result: of a run that is over.
        record: its id in the store.
        notices: what was told while it went on, such as skipped samples.
    """
    lines = [f"# {escape_markdown(result.name)}", ""]
    lines += [f"- {escape_markdown(sentence)}" for sentence in verdict_of(result)]
    lines += [f"- **warning**: {escape_markdown(sentence)}" for sentence in warnings_of(result)]
    for table in measured_rows(result):
        lines += ["", *markdown_table([escape_markdown(head) for head in table["heads"]], table["rows"])]
        lines += ["", f"{escape_markdown(table['caption'])}."]
    for kind in KINDS:
        if kind in result.artifacts:
            lines += ["", experiment_markdown(read_experiment(Path(result.artifacts[kind].path), kind))]
    if notices:
        lines += ["", "## Notices", "", *(f"- {escape_markdown(notice)}" for notice in notices)]
    lines += ["", "## Where it is", ""]
    report = report_place(result)
    told: list[tuple[str, object]] = [("report", report)] if report else []
    told += [
        ("record", f"{result.store}/.runs/{record}.json"),
        ("computed", result.computed),
        ("reused", result.reused),
    ]
    lines += markdown_table(["what", "where"], told)
    artifacts = sorted((role, place.version[:16], place.path) for role, place in result.artifacts.items())
    lines += ["", *markdown_table(["artifact", "version", "folder"], artifacts), ""]
    return "\n".join(lines)


def report_place(result: RunResult) -> Path | None:
    """The file of a run's report, where it made one."""
    place = result.artifacts.get("report")
    return Path(place.path).absolute() / "report.html" if place else None


def artifact_key(name: str) -> str:
    """A name as keys of Prefect's artifacts may be: lower case, digits and dashes."""
    return _NOT_IN_KEYS.sub("-", name.lower()).strip("-") or "run"


def tried(log: Any, call: Any, *arguments: Any) -> Any:
    """What a call of the server's returns; None where it fails, which is said and ends nothing."""
    try:
        return call(*arguments)
    except Exception as error:  # whatever a server or the way to it does
        log.warning(f"Prefect was not told: {one_line(first_line(error), 300)}")
        return None
