"""`uwm config`."""

from json import dumps

import typer

from data_specs.config_file import load_config
from flows.commands.options import ConfigArgument, SetOption


def config(config: ConfigArgument, changes: SetOption = None) -> None:
    """Check the settings and print them as JSON with absolute paths, as a deployment takes them."""
    typer.echo(dumps(load_config(config, changes or ()).model_dump(mode="json")))
