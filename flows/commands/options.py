"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer


def _local_store(store: str) -> str:
    from tasks.lineage.place import open_root

    # Before a server is started and a model is loaded. Not as a Path, which would hide that it is a URL.
    open_root(store)
    return store


StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="UWM_STORE",
        metavar="DIR",
        help="Folder of the artifact store.",
        show_default=True,
        callback=_local_store,
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=0, max=256, help="Processes that decode samples; default: one a core, at most 4."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON object on standard output.")]
ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The run's settings.")]
DEFAULT_STORE = "store"
