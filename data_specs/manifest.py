"""What an artifact says of itself: its recipe, files and circumstances."""

from typing import Any, Literal

from pydantic import Field, JsonValue

from data_specs.spec import Spec

KIND_PATTERN = r"^[a-z0-9_]+(\.[a-z0-9_]+)*$"
PART = ".part"  # ends the kind of one shard's share in an artifact
VERSION_PATTERN = r"^[0-9a-f]{64}$"


class ArtifactRef(Spec):
    """Names one artifact of a store."""

    kind: str = Field(pattern=KIND_PATTERN)
    version: str = Field(pattern=VERSION_PATTERN, description="digest of the recipe")


# Artifacts, or SHA-256 digests of what came from outside, by role; several in order.
Inputs = dict[str, ArtifactRef | str | list[ArtifactRef] | list[str]]


class Recipe(Spec):
    """All that decides an artifact's content; its digest is the artifact's version."""

    kind: str = Field(pattern=KIND_PATTERN)
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    inputs: Inputs = Field(
        default_factory=dict, description="artifacts, or SHA-256 digests of what came from outside, in order"
    )
    code: str = Field(description="digest of the source code that makes it")
    modules: dict[str, str] = Field(
        default_factory=dict, exclude=True, description="what `code` is of: digests by module; the manifest holds them"
    )


class FileEntry(Spec):
    """One file of an artifact."""

    path: str = Field(description="relative to the artifact's folder, with forward slashes")
    sha256: str = Field(pattern=VERSION_PATTERN)
    size_bytes: int = Field(ge=0)


class Source(Spec):
    """Something from outside that an artifact was made of, and where it lay."""

    location: str
    sha256: str = Field(pattern=VERSION_PATTERN)
    size_bytes: int = Field(ge=0)


class Circumstances(Spec):
    """What held when the artifact was made, without being part of its version."""

    libraries: dict[str, str]
    device: str
    precision: str
    seed: int | None
    git_commit: str | None
    git_dirty: bool | None
    flow_run_id: str | None
    command: list[str] | None = Field(default=None, description="of the process; older manifests hold none")
    started: str = Field(description="ISO 8601, UTC")
    ended: str = Field(description="ISO 8601, UTC")


class Manifest(Spec):
    """`manifest.json` of an artifact."""

    format: Literal[1] = 1
    version: str = Field(pattern=VERSION_PATTERN)
    recipe: Recipe
    modules: dict[str, str] = Field(
        default_factory=dict, description="digest of each module that the recipe's code is of"
    )
    files: list[FileEntry]
    sources: list[Source] = Field(default_factory=list)
    counts: dict[str, Any] = Field(default_factory=dict, description="samples read, and skipped by reason")
    circumstances: Circumstances

    @property
    def ref(self) -> ArtifactRef:
        """The reference under which the store holds it."""
        return ArtifactRef(kind=self.recipe.kind, version=self.version)
