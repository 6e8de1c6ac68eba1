"""Which model a digest in a recipe stands for: the files of its weights, and the edit on it where there is one."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from data_specs.manifest import ArtifactRef, Recipe, WeightsSource
from tasks.lineage.digest import file_sha256


@dataclass(frozen=True)
class ModelInUse:
    """A model that a run has open, as far as lineage needs to know it; a value that can be sent to another process."""

    digests: frozenset[str]  # of all its tensors, and of each encoder's
    tensors: str  # digest of all tensors of the base model
    files: tuple[Path, ...]  # with the base model's weights
    edit: ArtifactRef | None = None


def models_behind(recipe: Recipe, models: Iterable[ModelInUse]) -> dict[str, ModelInUse]:
    """The models that digests in a recipe stand for, by the role in which it names them."""
    known = {digest: model for model in reversed([*models]) for digest in model.digests}
    return {role: known[given] for role, given in recipe.inputs.items() if isinstance(given, str) and given in known}


def weights_sources(models: Iterable[ModelInUse]) -> list[WeightsSource]:
    """The files of base models, each once; those that are not on this machine are left out."""
    tensors = {path: model.tensors for model in models for path in model.files}
    found = []
    for path, digest in tensors.items():
        with suppress(OSError):
            state = path.stat()
            sha256 = digest_of_large_file(path, state.st_mtime_ns, state.st_size)
            found.append(WeightsSource(location=str(path), sha256=sha256, size_bytes=state.st_size, tensors=digest))
    return found


@cache
def digest_of_large_file(path: Path, _changed: int, _size: int) -> str:
    """SHA-256 of a file that is asked for often, hashed once in a process while its time and size stay."""
    return file_sha256(path)
