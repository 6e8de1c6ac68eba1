"""Manifests of older formats rewritten in this one; versions and files stay."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, MadeOf, Manifest, Pruned, Upgrade
from tasks.lineage.checking.faults import named_as_it_is
from tasks.lineage.circumstances import now
from tasks.lineage.contents import MANIFEST, PRUNED, is_pruned, label_of
from tasks.lineage.digest import file_sha256
from tasks.lineage.disk import sync
from tasks.lineage.environment import product_version
from tasks.lineage.inputs import made_of
from tasks.lineage.sealed_json import sealed, unsealed
from tasks.lineage.store import Store
from tasks.lineage.trust.log import Log, fact_of

_NEWEST = 2


@dataclass(frozen=True)
class Upgraded:
    """How many manifests a store holds, were rewritten, and were so since what they name was."""

    n_artifacts: int
    n_older: int
    n_above: int


def upgrade_manifests(store: Store) -> Upgraded:
    """Rewrite all manifests of format 1, and those of what was made of them, which name them by their digests.

    What a manifest says from then on of its inputs is what is there now; it says so. A process that dies meanwhile is
    gone on from by the next one. No run may use the store at the same time.

    Raises:
        ArtifactError: a manifest cannot be read, names an input that is another now, or cannot be written. Nothing
            was rewritten unless it was the disk.
    """
    surveyed = store.survey()
    problems = [item.problem for item in surveyed.found if item.problem]
    manifests = {item.ref: item.manifest for item in surveyed.found if item.manifest is not None}
    problems += [problem for manifest in manifests.values() for problem in _changed(manifest, manifests)]
    if problems:
        raise ArtifactError(f"{len(problems)} faults, the first: {problems[0]}; see `uwm lineage verify --all`")
    n_older = sum(manifest.format < _NEWEST for manifest in manifests.values())
    written: dict[ArtifactRef, Manifest] = {}
    for ref in _inputs_first(manifests):
        new = _rewritten(manifests[ref], {**manifests, **written})
        if new is not None:
            written[ref] = _put(store, ref, new)
        elif is_pruned(store.folder(ref)):
            _renew_note(store, ref, manifests[ref])
    return Upgraded(len(manifests), n_older, len(written) - n_older)


def _changed(manifest: Manifest, known: Mapping[ArtifactRef, Manifest]) -> Iterator[str]:
    for several in manifest.inputs.values():
        for named in several:
            there = known.get(named.ref)
            if there is not None and named.manifest is not None and not _is_or_was(there, named.manifest):
                yield f"{label_of(named)} is not what {label_of(manifest.ref)} was made of"


def _is_or_was(manifest: Manifest, digest: str) -> bool:
    """Whether a digest is a manifest's, or was before an upgrade that was cut off below what names it."""
    return digest == manifest.digest or (manifest.upgrade is not None and manifest.upgrade.manifest == digest)


def _inputs_first(manifests: Mapping[ArtifactRef, Manifest]) -> Iterator[ArtifactRef]:
    done: set[ArtifactRef] = set()
    for root in manifests:
        stack = [root]
        entered: set[ArtifactRef] = set()
        while stack:
            ref = stack[-1]
            below = [] if ref in entered else [each for each in _below(manifests[ref]) if each in manifests]
            entered.add(ref)
            pending = [each for each in below if each not in done and each not in entered]
            if pending:
                stack += pending
                continue
            stack.pop()
            if ref not in done:
                done.add(ref)
                yield ref


def _below(manifest: Manifest) -> set[ArtifactRef]:
    own = {named.ref for several in manifest.inputs.values() for named in several}
    for given in manifest.recipe.inputs.values():
        own |= {item for item in (given if isinstance(given, list) else [given]) if isinstance(item, ArtifactRef)}
    return own


def _rewritten(manifest: Manifest, known: Mapping[ArtifactRef, Manifest]) -> Manifest | None:
    """The manifest in the newest format with its inputs as they are now; None where nothing is to be rewritten."""

    def as_it_is(ref: ArtifactRef) -> MadeOf:
        if ref in known:
            return named_as_it_is(known[ref])
        return MadeOf(kind=ref.kind, version=ref.version, manifest=None, content=None)

    older = manifest.format < _NEWEST
    if older:
        inputs = made_of(manifest.recipe, (), as_it_is)
    else:
        inputs = {
            role: [as_it_is(named.ref) if named.ref in known else named for named in several]
            for role, several in manifest.inputs.items()
        }
    if not older and inputs == manifest.inputs:
        return None
    note = Upgrade(
        format=manifest.format if manifest.upgrade is None else manifest.upgrade.format,
        manifest=manifest.digest or "",
        when=now(),
        product=product_version(),
    )
    return manifest.model_copy(update={"format": _NEWEST, "digest": None, "inputs": inputs, "upgrade": note})


def _put(store: Store, ref: ArtifactRef, new: Manifest) -> Manifest:
    whole, data = sealed(new)
    folder = store.folder(ref)
    draft = folder.with_name(f".{folder.name}.{MANIFEST}")  # outside: nobody takes it for a file of the artifact
    release = store.leases.wait(ref)
    try:
        draft.write_bytes(data)
        sync(draft)
        # As the log has them: the digest of the file's bytes.
        Log(store.root).append([fact_of("upgraded", ref, file_sha256(draft))])
        os.replace(draft, folder / MANIFEST)
        sync(folder)
        if is_pruned(folder):
            _renew_note(store, ref, whole)
    finally:
        draft.unlink(missing_ok=True)
        release()
    return whole


def _renew_note(store: Store, ref: ArtifactRef, manifest: Manifest) -> None:
    """Let the note that files were dropped name the manifest that is beside it now."""
    path = store.folder(ref) / PRUNED
    try:
        note = unsealed(Pruned, path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{label_of(ref)}: {path} is no note of dropped files: {error}") from error
    if note.manifest == manifest.digest or not _is_or_was(manifest, note.manifest):
        return
    _, data = sealed(note.model_copy(update={"manifest": manifest.digest}))
    draft = path.with_name(f"{PRUNED}.tmp")
    draft.write_bytes(data)
    os.replace(draft, path)
