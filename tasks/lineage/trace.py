"""From an artifact back to all that it was made of."""

from collections.abc import Iterator

from rich.markup import escape
from rich.tree import Tree

from data_specs.manifest import ArtifactRef
from tasks.lineage.store import Store


def verify_lineage(store: Store, ref: ArtifactRef) -> Iterator[tuple[ArtifactRef, int]]:
    """Check an artifact and its inputs, theirs too, inputs first.

    Yields:
        Each artifact once, with the number of its files, after it was found as recorded.

    Raises:
        ArtifactError: one of them is missing or has changed.
    """
    pending, seen = [ref], set()
    ordered = []
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        ordered.append(current)
        pending.extend(inputs_of(store, current).values())
    for current in reversed(ordered):
        yield current, len(store.check(current).files)


def inputs_of(store: Store, ref: ArtifactRef) -> dict[str, ArtifactRef]:
    """The artifacts that one was made of, by role."""
    inputs = store.manifest(ref).recipe.inputs
    return {role: item for role, item in inputs.items() if isinstance(item, ArtifactRef)}


def lineage_tree(store: Store, ref: ArtifactRef, role: str = "") -> Tree:
    """A tree for people: inputs as branches, digests of what came from outside as leaves."""
    manifest = store.manifest(ref)
    label = f"{role}: " if role else ""
    tree = Tree(escape(f"{label}{ref.kind} {ref.version[:16]} ({manifest.circumstances.ended[:19]})"))
    locations = {source.sha256: source.location for source in manifest.sources}
    for name, item in manifest.recipe.inputs.items():
        if isinstance(item, ArtifactRef):
            tree.children.append(lineage_tree(store, item, name))
            continue
        for digest in [item] if isinstance(item, str) else item:
            tree.add(escape(f"{name}: sha256 {digest[:16]} {locations.get(digest, '')}".rstrip()))
    return tree
