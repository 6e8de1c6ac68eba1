"""What left a store: models that were exported, checkpoints that an edit was applied to."""

import json
import platform
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from data_specs.manifest import ArtifactRef
from tasks.lineage.circumstances import now, user_name
from tasks.lineage.digest import describe_files

EXPORTS = ".exports"


def record_export(root: Path, ref: ArtifactRef, out: Path, *, names: Sequence[str] | None = None, **told: str) -> None:
    """Put down that files were written from an artifact, in `STORE/.exports`; a store that may not be written gets none.

    Args:
        root: the store's folder.
        ref: what was exported.
        out: the file, or the folder of them, absolute.
        names: of the files in the folder that were made of it; all of them by default.
        told: more of it, such as `pushed`.
    """
    at, folder = now(), out if out.is_dir() else out.parent
    if names is None:
        names = [path.name for path in out.iterdir() if path.is_file()] if out.is_dir() else [out.name]
    name = f"{at[:19].replace(':', '').replace('-', '')}-{secrets.token_hex(4)}"
    content = {
        "id": name,
        "kind": ref.kind,
        "version": ref.version,
        "out": str(out),
        "files": [entry.model_dump(mode="json") for entry in describe_files(folder, sorted(names))],
        "command": sys.argv,
        "user": user_name(),
        "host": platform.node(),
        "at": at,
        **told,
    }
    with suppress(OSError):
        path = root / EXPORTS / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        draft.replace(path)


def export_records(root: Path) -> list[dict[str, Any]]:
    """Every record of an export that can be read, the newest first."""
    found = []
    for path in (root / EXPORTS).glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            if all(isinstance(content[name], str) for name in ("id", "kind", "version", "out", "at")):
                found.append(content)
    return sorted(found, key=lambda record: str(record["at"]), reverse=True)
