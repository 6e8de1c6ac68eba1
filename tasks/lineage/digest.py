"""SHA-256 digests of files and settings."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data_specs.manifest import ArtifactRef, FileEntry, Recipe

_WORTH_THREADS_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_files(folder: Path, names: Iterable[str]) -> list[FileEntry]:
    """Digest and size of files in a folder, sorted by name; large ones hashed in parallel."""
    ordered = sorted(names)
    sizes = {name: (folder / name).stat().st_size for name in ordered}
    if sum(sizes.values()) < _WORTH_THREADS_BYTES:
        digests: Iterable[str] = [file_sha256(folder / name) for name in ordered]
    else:
        with ThreadPoolExecutor(max_workers=4) as pool:
            digests = list(pool.map(lambda name: file_sha256(folder / name), ordered))
    return [
        FileEntry(path=name, sha256=digest, size_bytes=sizes[name])
        for name, digest in zip(ordered, digests, strict=True)
    ]


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def text_sha256(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_version(recipe: Recipe) -> str:
    """The version of the artifact that a recipe makes."""
    return text_sha256(canonical_json(recipe.model_dump(mode="json")))


def recipe_ref(recipe: Recipe) -> ArtifactRef:
    """The artifact that a recipe makes."""
    return ArtifactRef(kind=recipe.kind, version=recipe_version(recipe))


def digest_of(named: Mapping[str, str]) -> str:
    """One digest for a set of named digests, whatever their order."""
    return text_sha256(canonical_json(dict(named)))
