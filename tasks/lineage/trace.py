"""From an artifact back to all that it was made of."""

from collections.abc import Iterator

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef
from tasks.lineage.store import Store


def verify_lineage(store: Store, ref: ArtifactRef) -> Iterator[tuple[ArtifactRef, int]]:
    """Check an artifact and its inputs, theirs too, inputs first.

    Yields:
        Each artifact once, with the number of its files, after it was found as recorded.

    Raises:
        ArtifactError: one of them is missing or has changed.
    """
    seen: set[ArtifactRef] = set()

    def visit(current: ArtifactRef) -> Iterator[tuple[ArtifactRef, int]]:
        if current in seen:
            return
        seen.add(current)
        for item in inputs_of(store, current).values():
            yield from visit(item)
        yield current, len(store.check(current).files)

    yield from visit(ref)


def inputs_of(store: Store, ref: ArtifactRef) -> dict[str, ArtifactRef]:
    """The artifacts that one was made of, by role."""
    inputs = store.manifest(ref).recipe.inputs
    return {role: item for role, item in inputs.items() if isinstance(item, ArtifactRef)}


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
        if isinstance(item, ArtifactRef):
            yield from lineage_lines(store, item, name, (*above, ref))
            continue
        for digest in [item] if isinstance(item, str) else item:
            yield f"{indent}  {name}: sha256 {digest[:16]} {locations.get(digest, '')}".rstrip()
