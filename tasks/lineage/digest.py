"""SHA-256 digests of files, settings and source code."""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from data_specs.manifest import FileEntry, Recipe

_PROJECT_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("data_specs", "tasks")
# The store decides where bytes lie, never what they are.
_WITHOUT_EFFECT = ("tasks.lineage",)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_files(folder: Path, names: Iterable[str]) -> list[FileEntry]:
    """Digest and size of files in a folder, sorted by name; hashed in parallel."""
    ordered = sorted(names)

    def entry(name: str) -> FileEntry:
        path = folder / name
        return FileEntry(path=name, sha256=file_sha256(path), size_bytes=path.stat().st_size)

    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(entry, ordered))


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def text_sha256(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_version(recipe: Recipe) -> str:
    """The version of the artifact that a recipe makes."""
    return text_sha256(canonical_json(recipe.model_dump(mode="json")))


def digest_of(named: Mapping[str, str]) -> str:
    """One digest for a set of named digests, whatever their order."""
    return text_sha256(canonical_json(dict(named)))


@cache
def source_digest(package: str) -> str:
    """Digest of a stage's source and of all project code that it imports, however deep.

    Args:
        package: dotted name, such as `tasks.scoring`.

    Returns:
        A hexadecimal digest; it changes when any line that could change the stage's output does.
    """
    pending = sorted((_PROJECT_ROOT / package.replace(".", "/")).glob("*.py"))
    seen: dict[Path, str] = {}
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        source = path.read_bytes()
        seen[path] = hashlib.sha256(source).hexdigest()
        pending.extend(_imported_files(ast.parse(source)))
    return digest_of({path.relative_to(_PROJECT_ROOT).as_posix(): digest for path, digest in seen.items()})


def _imported_files(tree: ast.Module) -> list[Path]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
            names.extend(f"{node.module}.{alias.name}" for alias in node.names)
    files: list[Path] = []
    for name in names:
        if name.split(".")[0] not in _PACKAGES or name.startswith(_WITHOUT_EFFECT):
            continue
        base = _PROJECT_ROOT / name.replace(".", "/")
        files.extend(path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file())
    return files
