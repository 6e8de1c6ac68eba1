"""Who listens to a store unless told otherwise: its log, and what the environment asks for."""

from pathlib import Path

from tasks.lineage.listeners import Listener
from tasks.lineage.openlineage.sending import is_openlineage_asked
from tasks.lineage.trust.log import Log
from tasks.lineage.trust.signatures import SignedStore, is_signing_asked


def usual_listeners(root: Path) -> list[Listener]:
    """The listeners of the store at `root`."""
    # The log last: what has a line in it is about to be there.
    listeners: list[Listener] = [SignedStore(root)] if is_signing_asked() else []
    listeners.append(Log(root))
    if is_openlineage_asked():
        from tasks.lineage.openlineage.listener import OpenLineage

        listeners.append(OpenLineage(root))
    return listeners
