"""What may stand before every command: `uwm --version`."""

from typing import Annotated

import typer

_PACKAGE = "unsafe-weights"


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"uwm {version(_PACKAGE)}")
        except PackageNotFoundError:
            typer.echo(f"uwm, of a copy of {_PACKAGE} that is not installed")
        raise typer.Exit


def common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Take what may stand before every command."""
