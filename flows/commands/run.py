"""`uwm run` and `uwm demo`."""

from data_specs.config_file import load_config
from data_specs.run_result import RunResult
from flows.commands.options import DEFAULT_STORE, ConfigArgument, JsonOption, RunOptions, StoreOption, grouped
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


def demo(store: StoreOption = DEFAULT_STORE, json: JsonOption = False) -> None:
    """Draw pictures, train a tiny model, make it safer, and compare it with controls and other methods."""

    def start() -> RunResult:
        from flows.demo import demo as demo_flow

        result: RunResult = demo_flow(store)
        return result

    finish(in_prefect(start, store), json)
