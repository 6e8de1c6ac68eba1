"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

StoreOption = Annotated[
    Path, typer.Option("--store", envvar="UWM_STORE", help="Folder of the artifact store.", show_default=True)
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=0, max=256, help="Processes that decode samples; default: one a core, at most 4."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON object on standard output.")]
ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The run's settings.")]
DEFAULT_STORE = Path("store")
