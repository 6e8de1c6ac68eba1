"""An audit bundle: the evidence behind one artifact in a zip file, without pictures and captions; see bundle_check."""

import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_specs.errors import ArtifactError, SpecError
from data_specs.manifest import PART, ArtifactRef, Manifest
from data_specs.wording import shown_path
from tasks.auditing import bundle_check
from tasks.auditing.bundle_check import (
    BUNDLE_INDEX,
    DROPPED,
    LOG_FILE,
    MANIFEST_NAME,
    SIGNATURES,
    STORE_FOLDER,
    index_bytes,
)
from tasks.auditing.report_page import captions_in, page_without_pairs
from tasks.auditing.surroundings import installed_distributions, locked_environment
from tasks.lineage.contents import is_pruned, label_of
from tasks.lineage.digest import file_sha256
from tasks.lineage.disk import written_out
from tasks.lineage.runs import RUNS
from tasks.lineage.store import Store
from tasks.lineage.trace import artifacts_in

# Files that hold figures and no word of a sample.
_FIGURES = frozenset(
    {
        *(f"{name}.json" for name in ("metrics", "intervals", "chance", "clip_benchmark", "zero_shot", "overlap")),
        *(f"{name}.parquet" for name in ("by_tag", "differences", "changes_by_tag", "changes_by_certainty", "margins")),
        *(
            f"{kind}.{end}"
            for kind in ("sweep", "comparison", "ablation")
            for end in ("csv", "json", "md", "tex", "svg")
        ),
        *(f"{kind}.parquet" for kind in ("sweep", "comparison", "ablation", "layer_summary")),
    }
)
# Kinds of what a run measures; roles begin with them.
_MEASURED = ("evaluation", "differences", "overlap", "sweep", "comparison", "ablation", "report")
_REPORT, _PAGE = "report", "report.html"
_GALLERIES = {"gallery": "gallery.json", "gallery.flips": "flips.json", "gallery.captions": "captions.json"}
# The oldest date that a zip file can hold: the same evidence is the same file, whenever it is written.
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16


@dataclass
class Evidence:
    """What goes into a bundle: content, or the file that holds it, by name."""

    ref: ArtifactRef
    files: dict[str, bytes | Path] = field(default_factory=dict)
    absent: list[ArtifactRef] = field(default_factory=list)  # inputs that are not in the store any more
    left_out: list[str] = field(default_factory=list)  # sentences on what could not be put in


def write_bundle(store: Store, ref: ArtifactRef, out: Path) -> Evidence:
    """Write the bundle of an artifact; it appears when it is complete and was found to be sound.

    Args:
        store: holds the artifact, all that it was made of, and the records of runs.
        ref: which artifact.
        out: the zip file to make.

    Returns:
        What is in it.

    Raises:
        SpecError: `out` is there, or cannot be written.
        ArtifactError: a manifest, or a file that goes into the bundle, is not as it was recorded.
    """
    if out.exists():
        raise SpecError(f"--out {shown_path(out)} is there already; choose another name")
    evidence = gather_evidence(store, ref)
    draft = out.with_name(f".{out.name}.part-{os.getpid()}")
    try:
        with written_out(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            _write_zip(draft, evidence.files)
            _, wrong = bundle_check.check_bundle(bundle_check.Bundle(draft))
            if wrong:
                raise ArtifactError(
                    f"{label_of(ref)} is not as it was recorded: {wrong[0]}; see `uwm artifacts verify`"
                )
            os.replace(draft, out)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return evidence


def gather_evidence(store: Store, ref: ArtifactRef) -> Evidence:
    """All that goes into a bundle, its index too.

    Raises:
        ArtifactError: a manifest of the chain cannot be read.
    """
    evidence = Evidence(ref)
    measured = _measured_with(store, ref)
    chain = _chain(store, [ref, *measured], evidence.absent)
    for each, manifest in chain.items():
        _add_artifact(evidence, store.root / each.kind / each.version, manifest)
    for name, _ in _records(store.root, chain):
        evidence.files[f"{STORE_FOLDER}{RUNS}/{name}"] = store.root / RUNS / name
    for report in [item for item in [ref, *measured] if item.kind == _REPORT][:1]:
        _add_report(evidence, store, report)
    log = store.root / LOG_FILE.removeprefix(STORE_FOLDER)
    if log.is_file():
        evidence.files[LOG_FILE] = log.read_bytes()  # others may write on
    evidence.files["environment/installed.json"] = installed_distributions()
    if (lock := locked_environment()) is not None:
        evidence.files["environment/uv.lock"] = lock
    evidence.files["verify.py"] = Path(bundle_check.__file__).read_bytes()
    evidence.files["README.txt"] = _README.encode()
    evidence.files[BUNDLE_INDEX] = _index(evidence)
    return evidence


def _measured_with(store: Store, ref: ArtifactRef) -> list[ArtifactRef]:
    """What the newest run that has an artifact on its account has measured and reported."""
    for _, record in sorted(_records(store.root, [ref]), reverse=True):
        places = [
            ArtifactRef(kind=role.partition(".")[0], version=version)
            for role, version in record["artifacts"].items()
            if role.partition(".")[0] in _MEASURED
        ]
        return [place for place in places if store.holds(place)]
    return []


def _chain(store: Store, roots: Sequence[ArtifactRef], absent: list[ArtifactRef]) -> dict[ArtifactRef, Manifest]:
    """The manifests of artifacts and of all that they were made of, parts too; only what is not there at all is passed over."""
    found = {}
    pending = [*roots]
    while pending:
        current = pending.pop()
        if current in found or current in absent:
            continue
        if current not in roots and not os.path.lexists(store.root / current.kind / current.version):
            absent.append(current)
            continue
        found[current] = store.manifest(current)
        pending += artifacts_in(found[current].recipe.inputs).values()
    return dict(sorted(found.items(), key=lambda item: (item[0].kind, item[0].version)))


def _add_artifact(evidence: Evidence, folder: Path, manifest: Manifest) -> None:
    ref = manifest.ref
    before = f"{STORE_FOLDER}{ref.kind}/{ref.version}/"
    evidence.files[before + MANIFEST_NAME] = folder / MANIFEST_NAME
    if is_pruned(folder):
        evidence.files[before + DROPPED] = folder / DROPPED
    for entry in manifest.files:
        if entry.path.rpartition("/")[2] in _FIGURES and (folder / entry.path).is_file():
            evidence.files[before + entry.path] = folder / entry.path
    signatures = folder.parents[1] / SIGNATURES.removeprefix(STORE_FOLDER) / ref.kind / ref.version
    for path in sorted(signatures.glob("[!.]*")):
        evidence.files[f"{SIGNATURES}{ref.kind}/{ref.version}/{path.name}"] = path


def _records(root: Path, chain: Iterable[ArtifactRef]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Records of completed runs that name an artifact of the chain, by name of file."""
    versions = {ref.version for ref in chain if not ref.kind.endswith(PART)}
    for path in sorted((root / RUNS).glob("*.json")):
        with suppress(OSError, ValueError, AttributeError, KeyError, TypeError):
            content = json.loads(path.read_bytes())
            if content["status"] == "completed" and not versions.isdisjoint(content["artifacts"].values()):
                yield path.name, content


def _add_report(evidence: Evidence, store: Store, report: ArtifactRef) -> None:
    manifest = store.ensure(report)
    galleries = [item for item in artifacts_in(manifest.recipe.inputs).values() if item.kind in _GALLERIES]
    try:
        captions = [
            caption
            for item in galleries
            for caption in captions_in((store.path(item) / _GALLERIES[item.kind]).read_text(encoding="utf-8"))
        ]
        page = page_without_pairs((store.path(report) / _PAGE).read_text(encoding="utf-8"), captions)
    except (OSError, ValueError):
        page = None
    if page is None:
        evidence.left_out.append("the report: it cannot be told from it which of its texts are captions")
    else:
        evidence.files[f"{_REPORT}/{report.version}.html"] = page.encode()


def _index(evidence: Evidence) -> bytes:
    own = evidence.ref
    manifest = _content(evidence.files[f"{STORE_FOLDER}{own.kind}/{own.version}/{MANIFEST_NAME}"])
    log = evidence.files.get(LOG_FILE)
    lines = [] if log is None else _content(log).splitlines()
    return index_bytes(
        {
            "artifact": {**own.model_dump(), "manifest": bundle_check.digest_of_manifest(manifest)},
            "absent": sorted(f"{ref.kind}/{ref.version}" for ref in evidence.absent),
            "log_head": json.loads(lines[-1])["hash"] if lines else None,
            "files": {
                name: bundle_check.hex_sha256(item) if isinstance(item, bytes) else file_sha256(item)
                for name, item in sorted(evidence.files.items())
            },
        }
    )


def _content(item: bytes | Path) -> bytes:
    return item if isinstance(item, bytes) else item.read_bytes()


def _write_zip(path: Path, files: dict[str, bytes | Path]) -> None:
    # Not compressed: what a library for that makes of the same bytes differs between its versions.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, item in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = 3, _MODE
            archive.writestr(entry, _content(item))


_README = """\
Evidence of one artifact: its manifest and those of all that it was made of (store/), the files among them that hold
figures, the records of the runs that made or used them (store/.runs/), signatures and the store's log where there are
some, the report without pictures and captions, and what is installed where this was written (environment/).

    python verify.py                       checks all of it, with Python's standard library alone
    python verify.py --store DIR           hashes the artifacts' files in a store, too
    python verify.py --artifact DIGEST     compares the artifact's manifest with a digest that was written down elsewhere
    python verify.py --head HASH           makes sure that the log still holds an entry that was its newest once

Pictures, captions, activations, embeddings, models and edits are not in here: manifests name them by SHA-256. The store
folder is one that `uwm reproduce REF --from store` can read.
"""
