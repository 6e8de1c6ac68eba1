"""What an artifact says of itself: its recipe, files, what it was made of and the circumstances."""

from typing import Any, Literal

from pydantic import Field, JsonValue, model_validator

from data_specs.spec import Spec

KIND_PATTERN = r"^[a-z0-9_]+(\.[a-z0-9_]+)*$"
# The setting of a recipe that says what was observed, where its content follows from no recipe.
OBSERVATION = "observation"
PART = ".part"  # ends the kind of one shard's share in an artifact
GRADIENT_SUMS = "gradient_sums."  # begins the kinds of what is there only until scores or slopes are made of it
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
    etag: str | None = Field(
        default=None, description="on which the run took it for unchanged (`--trust-etag`); null: its bytes were read"
    )


class WeightsSource(Source):
    """A file with the weights that an artifact was made with: of the model, before any edit."""

    tensors: str = Field(
        pattern=VERSION_PATTERN, description="digest of all tensors of the model, whatever files they lie in"
    )


class MadeOf(ArtifactRef):
    """An artifact that another was made of, as it was then."""

    manifest: str | None = Field(
        pattern=VERSION_PATTERN, description="digest of its manifest; null where it was not in the store"
    )
    content: str | None = Field(
        pattern=VERSION_PATTERN, description="digest of its version, files and counts; the same when it is made again"
    )
    environment: str | None = Field(
        default=None, pattern=VERSION_PATTERN, description="of its circumstances; null where they name none"
    )

    @property
    def ref(self) -> ArtifactRef:
        """The artifact alone."""
        return ArtifactRef(kind=self.kind, version=self.version)


class GivenSettings(Spec):
    """The settings of the run that made an artifact; lists of over a hundred values are told by digest, first and last."""

    given: dict[str, JsonValue] = Field(description="those that the file and `--set` named, paths absolute")
    resolved: dict[str, JsonValue] = Field(description="all, defaults too")


class Circumstances(Spec):
    """What held when the artifact was made, without being part of its version; null where an older manifest has none."""

    libraries: dict[str, str]
    records: dict[str, str] = Field(
        default_factory=dict,
        description="by library: digest of its installed RECORD, without scripts, compiled files and metadata",
    )
    hardware: dict[str, str] = Field(
        default_factory=dict, description="machine, cpu, instructions; gpu where one was used"
    )
    environment: str | None = Field(
        default=None, description="digest of libraries, records, hardware, kind of device and precision"
    )
    device: str
    precision: str
    seed: int | None
    product: str | None = Field(default=None, description="version of this program")
    git_commit: str | None
    git_dirty: bool | None
    flow_run_id: str | None
    run: str | None = Field(default=None, description="identifier of the run's record, `.runs/ID.json`")
    command: list[str] | None = Field(default=None, description="of the process")
    user: str | None = None
    host: str | None = None
    system: str | None = Field(default=None, description="operating system")
    process: int | None = Field(default=None, description="number of the process on its host")
    runner: str | None = Field(default=None, description="who started the process: local, dask or ray")
    started: str = Field(description="ISO 8601, UTC")
    ended: str = Field(description="ISO 8601, UTC")


class Upgrade(Spec):
    """A manifest that was rewritten in a newer format: what it says of its inputs was found then, not when it was made."""

    format: int = Field(description="that it was made in")
    manifest: str = Field(pattern=VERSION_PATTERN, description="digest of the former manifest")
    when: str = Field(description="ISO 8601, UTC")
    product: str | None = Field(description="version of the program that rewrote it")


class Manifest(Spec):
    """`manifest.json` of an artifact.

    Format 2 has a digest over the whole file, and names inputs by the digests of their manifests, so that a change
    anywhere below shows at the top; format 1 has neither, and holds nothing of what is optional here.
    """

    format: Literal[1, 2] = 2
    version: str = Field(pattern=VERSION_PATTERN)
    digest: str | None = Field(
        default=None, pattern=VERSION_PATTERN, description="SHA-256 of the file without the line that holds this"
    )
    recipe: Recipe
    modules: dict[str, str] = Field(
        default_factory=dict, description="digest of each module that the recipe's code is of"
    )
    inputs: dict[str, list[MadeOf]] = Field(
        default_factory=dict,
        description="artifacts that it was made of, by role, in order; also those that a digest in the recipe stands for",
    )
    files: list[FileEntry]
    sources: list[Source] = Field(default_factory=list)
    weights: list[WeightsSource] = Field(
        default_factory=list, description="the base model, where its tensors were used"
    )
    settings: GivenSettings | None = Field(
        default=None, description="of the run; null for parts, whose recipe has all that acts on them"
    )
    counts: dict[str, Any] = Field(default_factory=dict, description="samples read, and skipped by reason")
    circumstances: Circumstances
    upgrade: Upgrade | None = None

    @model_validator(mode="after")
    def _is_of_one_format(self) -> "Manifest":
        own = self.inputs or self.weights or self.settings or self.upgrade
        if self.format == 1 and own:
            raise ValueError("format 1 has no inputs, weights, settings and upgrade")
        return self

    @property
    def ref(self) -> ArtifactRef:
        """The reference under which the store holds it."""
        return ArtifactRef(kind=self.recipe.kind, version=self.version)


class Pruned(Spec):
    """`pruned.json` beside the manifest of an artifact whose files were dropped, since they can be made again."""

    digest: str | None = Field(
        default=None, pattern=VERSION_PATTERN, description="SHA-256 of the file without the line that holds this"
    )
    manifest: str = Field(pattern=VERSION_PATTERN, description="digest of the manifest beside it")
    when: str = Field(description="ISO 8601, UTC")
    why: str
    size_bytes: int = Field(ge=0, description="of the files that were dropped")
    user: str | None = None
    host: str | None = None
