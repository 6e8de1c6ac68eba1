"""A recipe, and the files that it makes."""

from data_specs.manifest import Recipe, Source


def recipe_of(kind="scores", code="c0de", settings=None, inputs=None):
    chosen = {"tau": 0.98, "layers": ["a", "b"]} if settings is None else settings
    return Recipe(kind=kind, settings=chosen, inputs=inputs or {}, code=code)


def write_two(build):
    (build.folder / "a.txt").write_text("first")
    (build.folder / "b.txt").write_text("second")
    build.sources.append(Source(location="shard.tar", sha256="0" * 64, size_bytes=3))
