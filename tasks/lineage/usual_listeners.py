"""Who listens to a store unless told otherwise: its log, and what the environment asks for."""

from pathlib import Path

from tasks.lineage.listeners import Listener
from tasks.lineage.log import Log


def usual_listeners(root: Path) -> list[Listener]:
    """The listeners of the store at `root`."""
    return [Log(root)]
