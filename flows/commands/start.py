"""How commands start flows, and how they end."""

import atexit
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from typing import TYPE_CHECKING

import typer

from data_specs.llava_setting import require_evaluable
from data_specs.run_config import RunConfig
from data_specs.run_result import RunResult
from flows.commands.ending import work_kept_in
from flows.commands.options import ExperimentOptions

if TYPE_CHECKING:
    from flows.session import Session


def in_prefect(
    start: Callable[[], RunResult], store: str, configs: Sequence[RunConfig] = (), *, measures: bool = True
) -> RunResult:
    """Run a flow against the configured Prefect server or a temporary one, with progress on the screen.

    Settings that name what is not there are refused without waiting for the server, and, where the flow `measures`, those
    of a model that cannot be measured.
    """
    from flows.readiness import require_known, require_paths

    for config in configs:
        require_paths(config)
        if measures:
            require_evaluable(config.model.llava)
    from flows.server.temporary import prefect_api

    with work_kept_in(store), prefect_api() as wait_for_server:
        # The server starts in its own process while the heavy libraries are imported in this one.
        with imported_quickly():
            import open_clip  # noqa: F401

            import flows.make_safe  # noqa: F401
            from flows.commands.display import progress_shown

        for config in configs:
            require_known(config)
        with progress_shown():
            wait_for_server()
            return start()


@contextmanager
def imported_quickly() -> Iterator[None]:
    """Imports make millions of objects that stay: looking through them, now and ever after, is a fifth of a command's time."""
    n_before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        # A later block of the process imports nothing new, and would keep what is garbage by then for ever.
        if len(sys.modules) > n_before:
            gc.freeze()
            atexit.register(gc.unfreeze)  # libraries count what the interpreter's end leaves, and complain
        gc.enable()


def run_or_plan(
    start: Callable[[], RunResult],
    steps: "Callable[[Sequence[Session]], None]",
    configs: Sequence[RunConfig],
    options: ExperimentOptions,
) -> None:
    """Run a flow to its end, or say what its steps would make of these settings."""
    if not options.plan:
        finish(in_prefect(start, options.store, configs), options.json, allow_overlap=options.allow_overlap)
        return
    from flows.commands.plan import show_plan

    show_plan(configs, options.place, options.device, steps, json=options.json)


def finish(result: RunResult, json: bool, *, allow_overlap: bool = False) -> None:
    """Print a run's end: tables for a person, or one line of JSON."""
    from flows.commands.display import show_result

    if json:
        typer.echo(dumps(result.model_dump(mode="json")))
    else:
        show_result(result, allow_overlap=allow_overlap)
