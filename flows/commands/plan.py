"""`uwm plan`, and `--plan` of the commands that measure many models: what would be made, and what that takes."""

from collections.abc import Callable, Sequence
from json import dumps
from typing import TYPE_CHECKING

import typer

from data_specs.config_file import load_config
from data_specs.run_config import RunConfig
from data_specs.store_place import StorePlace
from flows.commands.options import (
    DEFAULT_STORE,
    ConfigArgument,
    DeviceOption,
    FetchLimitOption,
    JsonOption,
    RemoteOption,
    SetOption,
    StoreOption,
    TrustOption,
    store_place,
    with_fetching,
)
from flows.commands.start import imported_quickly

if TYPE_CHECKING:
    from flows.session import Session

_TOLD_SECONDS = 0.5


def plan(
    config: ConfigArgument,
    store: StoreOption = DEFAULT_STORE,
    remote: RemoteOption = None,
    device: DeviceOption = "auto",
    fetch_limit: FetchLimitOption = None,
    trust_etag: TrustOption = False,
    json: JsonOption = False,
    changes: SetOption = None,
) -> None:
    """Say what `uwm run` would find, what it would make, and what that takes; nothing is made."""

    def steps(sessions: "Sequence[Session]") -> None:
        from flows.make_safe import steps_of_make_safe

        steps_of_make_safe(sessions[0])

    settings = load_config(config, with_fetching(changes, fetch_limit, trusts_etags=trust_etag))
    show_plan([settings], store_place(store, remote), device, steps, json=json)


def show_plan(
    configs: Sequence[RunConfig],
    store: StorePlace,
    device: str,
    steps: "Callable[[Sequence[Session]], None]",
    *,
    json: bool,
) -> None:
    """Print what the steps of some runs would find and make; no server is started for it."""
    from flows.readiness import require_paths

    for config in configs:
        require_paths(config)
    with imported_quickly():
        from flows.commands.console import output
        from flows.commands.display import progress_shown
        from flows.commands.plan_table import plan_lines, plan_table
        from flows.plan import plan_of

    with progress_shown(told_from=_TOLD_SECONDS):
        found = plan_of(configs, store, device, steps)
    if json:
        typer.echo(dumps(found.model_dump(mode="json") | {"totals": found.totals}))
        return
    output.print(plan_table(found, output.width))
    for line in plan_lines(found):
        output.print(line, markup=False)
