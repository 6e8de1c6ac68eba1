"""Flows that find a server wherever they are called: a command, a deployment, a notebook."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.context import FlowRunContext
from prefect.logging.handlers import PrefectConsoleHandler

from flows.server.temporary import prefect_api
from tasks.lineage.progress import is_heard, listening

P = ParamSpec("P")
R = TypeVar("R")


class PipelineFlow(Flow[P, R]):
    """A flow that, called where no server is configured, starts a temporary one for the call."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Run the flow; see Prefect's Flow."""
        if FlowRunContext.get() is not None:
            return super().__call__(*args, **kwargs)
        with progress_where_looked_at(), prefect_api() as wait_for_server, _quiet():
            wait_for_server()
            return super().__call__(*args, **kwargs)

    def with_options(self, **options: Any) -> "PipelineFlow[P, R]":
        """The same flow with other options; see Prefect's Flow."""
        changed = super().with_options(**options)
        # Prefect makes a plain flow of it.
        changed.__class__ = PipelineFlow
        return changed  # type: ignore[return-value]


def flow(*, name: str, run_name: str) -> Callable[[Callable[P, R]], PipelineFlow[P, R]]:
    """As Prefect's decorator.

    Args:
        name: of the flow.
        run_name: of a run of it; a template over its arguments.
    """
    return lambda function: PipelineFlow(function, name=name, flow_run_name=run_name)


@contextmanager
def progress_where_looked_at() -> Iterator[None]:
    """Show progress to a person in front of a notebook or a terminal, unless somebody listens to it already."""
    if is_heard():
        yield
        return
    from flows.notebook import NotebookProgress, notebook

    if notebook() is not None:
        shown = NotebookProgress()
        with listening(shown):
            try:
                yield
            finally:
                shown.close()
    elif sys.stderr is not None and sys.stderr.isatty():
        from flows.commands.display import progress_shown

        with progress_shown():
            yield
    else:
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Prefect's lines stay off the screen, unless the user has asked for a level; an error comes as an exception."""
    consoles = [] if "PREFECT_LOGGING_LEVEL" in os.environ else logging.getLogger().handlers
    consoles = [handler for handler in consoles if isinstance(handler, PrefectConsoleHandler)]
    for console in consoles:
        console.addFilter(_is_not_prefects)
    try:
        yield
    finally:
        for console in consoles:
            console.removeFilter(_is_not_prefects)


def _is_not_prefects(record: logging.LogRecord) -> bool:
    return not record.name.startswith("prefect")
