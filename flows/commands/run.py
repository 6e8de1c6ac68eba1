"""`uwm run` and `uwm demo`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from data_specs.config_file import load_config
from data_specs.run_config import RunConfig
from data_specs.run_result import RunResult
from flows.commands.options import DEFAULT_STORE, DeviceOption, JsonOption, StoreOption, WorkersOption


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The run's settings.")],
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:
    """Edit a model and compare it with the original."""
    settings = load_config(config)

    def start() -> RunResult:
        from flows.make_safe import make_safe

        return _call(make_safe, settings, store, device, workers)

    _finish(_in_prefect(start), json)


def demo(store: StoreOption = DEFAULT_STORE, json: JsonOption = False) -> None:
    """Draw pictures, train a tiny model, make it safer, and show a control."""

    def start() -> RunResult:
        from flows.demo import demo as demo_flow

        result: RunResult = demo_flow(str(store))
        return result

    _finish(_in_prefect(start), json)


def _call(
    flow: Callable[..., RunResult], settings: RunConfig, store: Path, device: str, workers: int | None
) -> RunResult:
    return flow(settings, str(store), device, workers)


def _in_prefect(start: Callable[[], RunResult]) -> RunResult:
    from flows.commands.display import progress_shown
    from flows.temporary_server import prefect_api

    with prefect_api() as wait_for_server:
        # The server starts in its own process while the heavy libraries are imported in this one.
        import open_clip  # noqa: F401

        import flows.make_safe  # noqa: F401

        wait_for_server()
        with progress_shown():
            return start()


def _finish(result: RunResult, json: bool) -> None:
    from flows.commands.display import show_result

    if json:
        typer.echo(result.model_dump_json())
    else:
        show_result(result)
