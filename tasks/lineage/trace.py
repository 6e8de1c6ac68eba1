"""From an artifact back to all that it was made of."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from data_specs.errors import ArtifactError
from data_specs.manifest import PART, ArtifactRef, Inputs, Manifest
from tasks.lineage.store import Store


def verify_lineage(store: Store, ref: ArtifactRef) -> Iterator[tuple[ArtifactRef, int | None]]:
    """Check an artifact and its inputs, theirs too, inputs first.

    Yields:
        Each artifact once, with the number of its files, after it was found as recorded; None where its files are in a
        remote only, and its manifest alone was checked.

    Raises:
        ArtifactError: one of them is missing or has changed.
    """
    seen: set[ArtifactRef] = set()

    def visit(current: ArtifactRef) -> Iterator[tuple[ArtifactRef, int | None]]:
        if current in seen:
            return
        seen.add(current)
        for item in inputs_of(store, current).values():
            yield from visit(item)
        is_here = os.path.lexists(store.folder(current)) or store.elsewhere.manifest(current) is None
        yield current, len(store.check(current).files) if is_here else None

    yield from visit(ref)


def inputs_of(store: Store, ref: ArtifactRef) -> dict[str, ArtifactRef]:
    """The artifacts that one was made of, by role."""
    inputs = store.manifest(ref).recipe.inputs
    return artifacts_in(inputs)


def artifacts_in(inputs: Inputs) -> dict[str, ArtifactRef]:
    """The artifacts among inputs, by role; several of one role are numbered."""
    found: dict[str, ArtifactRef] = {}
    for role, item in inputs.items():
        if isinstance(item, ArtifactRef):
            found[role] = item
        elif isinstance(item, list):
            found |= {f"{role}.{index}": each for index, each in enumerate(item) if isinstance(each, ArtifactRef)}
    return found


def manifest_at_hand(store: Store, ref: ArtifactRef | None) -> Manifest | None:
    """An artifact's manifest; None of no artifact, and of one that is not there."""
    with suppress(ArtifactError):
        return None if ref is None else store.manifest(ref)
    return None


def manifests_behind(
    store: Store, refs: Iterable[ArtifactRef], known: Mapping[ArtifactRef, Manifest] | None = None
) -> dict[ArtifactRef, Manifest]:
    """Manifests of artifacts and of all that they were made of, as far as they are there.

    Args:
        store: holds them.
        refs: where to begin.
        known: manifests that were read before.

    Returns:
        Each artifact once, but for the shares of single shards, of which a set may have thousands.
    """
    found: dict[ArtifactRef, Manifest] = {}
    pending = [*refs]
    while pending:
        ref = pending.pop()
        if ref in found or ref.kind.endswith(PART):
            continue
        with suppress(ArtifactError):
            found[ref] = (known or {}).get(ref) or store.manifest(ref)
            pending += artifacts_in(found[ref].recipe.inputs).values()
    return found


def lineage_lines(
    store: Store, ref: ArtifactRef, role: str = "made", above: tuple[ArtifactRef, ...] = ()
) -> Iterator[str]:
    """An artifact and, indented below it, its inputs and theirs, down to digests of what came from outside.

    Raises:
        ArtifactError: one of them is missing, or is made of itself.
    """
    if ref in above:
        raise ArtifactError(f"{ref.kind} {ref.version[:12]} is made of itself; see `uwm artifacts verify`")
    manifest = store.manifest(ref)
    indent = "  " * len(above)
    yield f"{indent}{role}: {ref.kind} {ref.version[:16]} {manifest.circumstances.ended[:19]}"
    locations = {source.sha256: source.location for source in manifest.sources}
    for name, item in manifest.recipe.inputs.items():
        for each in item if isinstance(item, list) else [item]:
            if isinstance(each, ArtifactRef):
                yield from lineage_lines(store, each, name, (*above, ref))
            else:
                yield f"{indent}  {name}: sha256 {each[:16]} {locations.get(each, '')}".rstrip()
