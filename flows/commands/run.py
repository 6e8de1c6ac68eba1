"""`uwm run`."""

from data_specs.config_file import load_config
from data_specs.run_result import RunResult
from flows.commands.options import ConfigArgument, RunOptions, grouped
from flows.commands.start import finish, in_prefect


@grouped
def run(config: ConfigArgument, options: RunOptions = RunOptions()) -> None:  # noqa: B008  (frozen)
    """Edit a model and compare it with the original."""
    settings = load_config(config, options.changed)

    place = options.place

    def start() -> RunResult:
        from flows.make_safe import make_safe

        result: RunResult = make_safe(settings, place, options.placement, options.workers)
        return result

    finish(in_prefect(start, options.store, [settings]), options.json, allow_overlap=options.allow_overlap)
