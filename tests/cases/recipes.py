"""A recipe, the files that it makes, and a store of two artifacts."""

from data_specs.manifest import Recipe, Source
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store


def recipe_of(kind="scores", code="c0de", settings=None, inputs=None):
    chosen = {"tau": 0.98, "layers": ["a", "b"]} if settings is None else settings
    return Recipe(kind=kind, settings=chosen, inputs=inputs or {}, code=code)


def write_two(build):
    (build.folder / "a.txt").write_text("first")
    (build.folder / "b.txt").write_text("second")
    build.sources.append(Source(location="shard.tar", sha256="0" * 64, size_bytes=3))


def store_of_edit_and_model(root):
    """A store with an artifact of each of the two kinds."""
    opened = Store(root)
    for kind in ("edit", "model"):
        opened.materialise(recipe_of(kind=kind), write_two, RunContext())
    return opened
