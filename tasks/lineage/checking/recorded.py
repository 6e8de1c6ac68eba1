"""What the records of runs say of manifests: of an artifact that nothing was made of, they alone know how it was."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data_specs.errors import ArtifactError
from data_specs.manifest import Manifest
from tasks.lineage.checking.faults import Fault, content_digest
from tasks.lineage.contents import MANIFEST, REMEDY, label_of
from tasks.lineage.runs import RUNS

MANIFESTS = "manifests"  # of a record: by version, the digests of manifest and content


@dataclass(frozen=True)
class Recorded:
    """How the newest run that used or made an artifact found it."""

    run: str
    manifest: str
    content: str


def digests_to_record(manifests: Iterable[Manifest]) -> dict[str, dict[str, str]]:
    """What a run's record says of the manifests of what it used and made."""
    return {
        item.version: {"manifest": item.digest, "content": content_digest(item)}
        for item in manifests
        if item.digest is not None
    }


def recorded_manifests(root: Path, most: int | None = None) -> dict[str, Recorded]:
    """By version, what the newest record that names it says.

    Args:
        root: of the store.
        most: how many records are read, the newest first; None for all.
    """
    found: dict[str, Recorded] = {}
    for path in sorted((root / RUNS).glob("*.json"), reverse=True)[:most]:
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            for version, of in json.loads(path.read_text(encoding="utf-8"))[MANIFESTS].items():
                found.setdefault(version, Recorded(path.stem, str(of["manifest"]), str(of["content"])))
    return found


def recorded_fault(manifest: Manifest, recorded: Recorded | None) -> Fault | None:
    """The sentence on an artifact whose manifest is another than a run's record says."""
    if recorded is None or recorded.manifest == manifest.digest:
        return None
    upgraded = manifest.upgrade is not None and manifest.upgrade.manifest == recorded.manifest
    if upgraded and recorded.content == content_digest(manifest):
        return None
    text = (
        f"{label_of(manifest.ref)} is not as run {recorded.run} found it: its manifest has digest"
        f" {(manifest.digest or '')[:12]}, recorded is {recorded.manifest[:12]}; somebody rewrote it, or it was made again"
        f" by a run that was killed; {REMEDY}"
    )
    return Fault("changed", manifest.ref, MANIFEST, text)


def require_as_recorded(manifest: Manifest, recorded: Recorded | None) -> None:
    """Refuse an artifact of other content than a run's record says.

    Raises:
        ArtifactError: its files or counts are others.
    """
    fault = recorded_fault(manifest, recorded)
    if fault is not None and recorded is not None and recorded.content != content_digest(manifest):
        raise ArtifactError(fault.text)
