"""How commands start flows, and how they end."""

from collections.abc import Callable
from json import dumps

import typer

from data_specs.run_result import RunResult
from flows.commands.ending import work_kept_in


def in_prefect(start: Callable[[], RunResult], store: str) -> RunResult:
    """Run a flow against the configured Prefect server or a temporary one, with progress on the screen."""
    from flows.server.temporary import prefect_api

    with work_kept_in(store), prefect_api() as wait_for_server:
        # The server starts in its own process while the heavy libraries are imported in this one.
        import open_clip  # noqa: F401

        import flows.make_safe  # noqa: F401
        from flows.commands.display import progress_shown

        with progress_shown():
            wait_for_server()
            return start()


def finish(result: RunResult, json: bool) -> None:
    """Print a run's end: tables for a person, or one line of JSON."""
    from flows.commands.display import show_result

    if json:
        typer.echo(dumps(result.model_dump(mode="json")))
    else:
        show_result(result)
