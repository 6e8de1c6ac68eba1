"""`uwm config`."""

from json import dumps

import typer

from data_specs.config_file import load_config
from flows.commands.options import ConfigArgument


def config(config: ConfigArgument) -> None:
    """Check the settings and print them as JSON with absolute paths, as a deployment takes them."""
    typer.echo(dumps(load_config(config).model_dump(mode="json")))
