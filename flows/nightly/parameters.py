"""What the flows of a watch take: the watch as a mapping, or the path of its file."""

from pathlib import Path
from typing import Annotated, Any

from data_specs.watch import Watch
from data_specs.watch_file import load_watch
from flows.parameters import OrFile


def _read(given: Any) -> Any:
    return load_watch(Path(given)) if isinstance(given, str | Path) else given


WatchOrFile = Annotated[Watch, OrFile(_read, "WATCH.yaml")]
