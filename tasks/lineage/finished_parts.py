"""Finished parts of an artifact in the making, so that a killed run goes on where it was."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PARTS_FOLDER = ".parts"


class Parts:
    """Which parts of a scratch folder are finished, by a marker file each.

    A marker is renamed into place after the part's files are on disk, and names them. Files
    that no marker names are of a part that was cut off.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._markers = folder / PARTS_FOLDER

    def record(self, name: str) -> dict[str, Any] | None:
        """What was recorded with a finished part, or None where it is not finished."""
        marker = self._markers / f"{name}.json"
        if not marker.is_file():
            return None
        content: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))["record"]
        return content

    def finish(self, name: str, files: Iterable[Path], record: dict[str, Any]) -> None:
        """Mark a part as finished.

        Args:
            name: of the part; a plain file name.
            files: the part's files, closed, inside the scratch folder.
            record: what to remember with it; JSON.
        """
        names = []
        for path in files:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            names.append(path.relative_to(self._folder).as_posix())
        self._markers.mkdir(exist_ok=True)
        draft = self._markers / f"{name}.tmp"
        draft.write_text(json.dumps({"files": names, "record": record}), encoding="utf-8")
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, self._markers / f"{name}.json")

    def remove_unfinished(self) -> None:
        """Delete every file that no marker names."""
        kept: set[str] = set()
        for marker in self._markers.glob("*.json"):
            kept.update(json.loads(marker.read_text(encoding="utf-8"))["files"])
        for path in self._folder.rglob("*"):
            if (
                path.is_file()
                and path.parent != self._markers
                and path.relative_to(self._folder).as_posix() not in kept
            ):
                path.unlink()
