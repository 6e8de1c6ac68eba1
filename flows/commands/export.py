"""`uwm export`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from data_specs.wording import printable
from flows.commands.options import DEFAULT_STORE, StoreOption


class Format(StrEnum):
    """Whose folder is written."""

    open_clip = "open_clip"
    transformers = "transformers"


def export(
    edited: Annotated[
        str,
        typer.Argument(
            metavar="EDITED", help="Version of a model artifact, or a run that made one; the beginning is enough."
        ),
    ],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="The folder to make.")],
    format: Annotated[Format, typer.Option("--format", help="The library that shall load it.")] = Format.open_clip,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", metavar="DIR", help="Tokenizer of the model, to be put beside it.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write an edited model as a folder with a model card."""
    from flows.commands.display import progress_shown
    from tasks.exporting.folder import export_model
    from tasks.lineage.runs import find_artifact
    from tasks.lineage.store import Store

    opened = Store(store)
    version = find_artifact(opened, edited, ("model",)).version
    with progress_shown():
        folder = export_model(opened, version, format.value, out, tokenizer)
    typer.echo(printable(f"wrote {folder}"))
