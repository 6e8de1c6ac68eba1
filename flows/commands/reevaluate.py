"""`uwm reevaluate`: one night of a watch, now."""

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from data_specs.errors import PipelineError
from data_specs.night import Night
from data_specs.watch import Watch
from data_specs.watch_file import load_watch
from flows.commands.ending import work_kept_in
from flows.commands.options import PlaceOptions, grouped
from flows.commands.start import imported_quickly

WatchArgument = Annotated[Path, typer.Argument(metavar="WATCH.yaml", help="Models, sets, baseline and gates.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="End with 6 where a gate is unsure or not comparable; else those end with 0.")
]


@grouped
def reevaluate(watch: WatchArgument, strict: StrictOption = False, options: PlaceOptions = PlaceOptions()) -> None:  # noqa: B008  (frozen)
    """Measure the models of a watch on its sets, with only what is new computed, and hold them against its gates."""
    asked = load_watch(watch)
    place, placement = options.place, options.placement
    require_watch_files(asked)
    from flows.server.temporary import prefect_api

    with work_kept_in(options.store), prefect_api() as wait_for_server:
        # The server starts in its own process while the heavy libraries are imported in this one.
        with imported_quickly():
            import open_clip  # noqa: F401

            from flows.commands.display import progress_shown
            from flows.nightly.reevaluate import reevaluate as reevaluate_flow
        try:
            with progress_shown():
                wait_for_server()
                night = reevaluate_flow(asked, place, placement, options.workers, strict)
        except PipelineError as error:
            if isinstance(error.result, Night):
                _show(error.result, json=options.json)
            raise
    _show(night, json=options.json)


def require_watch_files(watch: Watch) -> None:
    """Refuse a watch that names settings which are wrong, before anything is started; shards are looked at by their turn.

    Raises:
        SpecError: the settings of a run that it names are wrong, or the weights of a model are not there.
    """
    from data_specs.config_file import load_config
    from tasks.encoders.reference import require_weights_path
    from tasks.lineage.remotes.address import remote_url

    for named in (*watch.models.values(), *([watch.baseline] if watch.baseline else [])):
        if named.config is not None:
            load_config(Path(named.config))
        if named.model is not None:
            require_weights_path(named.model.weights)
    for url in watch.store.remote:
        remote_url(url)


def _show(night: Night, *, json: bool) -> None:
    if json:
        typer.echo(dumps(night.model_dump(mode="json")))
        return
    from flows.commands.night_table import show_night

    show_night(night)
