"""What the store knows of how an edited model measured, and on which data."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field

from data_specs.errors import ArtifactError
from data_specs.evaluation_files import INTERVALS_FILE, read_chance, read_differences, read_intervals, read_metrics
from data_specs.figures import Difference
from data_specs.manifest import ArtifactRef, Manifest
from data_specs.wording import last_part
from tasks.lineage.digest import canonical_json
from tasks.lineage.progress import notice
from tasks.lineage.store import Store
from tasks.lineage.trace import inputs_of

_SHARDS = "shards"
# What an evaluation's inputs say of the data, beside the shards; the rest is of the model.
_OF_THE_DATA = ("samples", "contents", "class_names", "templates")


@dataclass(frozen=True)
class DataVersion:
    """One shard and what it was used for; `name` is the last part of where it lay."""

    used_for: str
    name: str
    sha256: str


@dataclass(frozen=True)
class Figures:
    """One model on one evaluation set: percent by metric, and intervals where they were made."""

    version: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    chance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """The edited model on one evaluation set, and the original on the same where it was measured.

    `differences` between the two, pair by pair, where a run compared them.
    """

    data: list[DataVersion]
    edited: Figures
    original: Figures | None
    differences: dict[str, Difference] = field(default_factory=dict)


def data_versions(manifests: list[Manifest]) -> list[DataVersion]:
    """The shards that artifacts were made of, by what they were used for."""
    found: dict[tuple[str, str], DataVersion] = {}
    for manifest in manifests:
        shards = manifest.recipe.inputs.get(_SHARDS)
        if not isinstance(shards, list):
            continue
        places = {source.sha256: source.location for source in manifest.sources}
        for digest in map(str, shards):
            found[manifest.recipe.kind, digest] = DataVersion(
                manifest.recipe.kind, last_part(places.get(digest, "")), digest
            )
    return [found[key] for key in sorted(found, key=lambda key: (key[0], found[key].name, key[1]))]


def measurements(
    store: Store, edited_as: set[ArtifactRef], base: str, left_out: Collection[str] = ()
) -> list[Measurement]:
    """Evaluations of a model: a run's lead back to the `model` artifact, a sweep's or comparison's to the `edit`.

    Args:
        store: holds them.
        edited_as: the model and its edit.
        base: digest of the original model.
        left_out: versions of evaluations that tell nothing, such as those by which a point was chosen.
    """
    edited: dict[str, Manifest] = {}
    original: dict[str, Manifest] = {}
    for item in store.refs():
        if item.kind != "evaluation" or item.version in left_out:
            continue
        manifest = store.manifest(item)
        measured = manifest.recipe.inputs.get("model")
        found = edited if measured in edited_as else original if measured == base else None
        if found is None:
            continue
        try:
            store.check(item)
            key = _data_key(store, item)
        except ArtifactError as error:
            notice(f"left out of the model card: {error}")
            continue
        if key not in found or found[key].circumstances.ended < manifest.circumstances.ended:
            found[key] = manifest
    return [
        Measurement(
            data_versions([store.manifest(item) for item in _data_of(store, manifest, edited_as)]),
            _figures(store, manifest),
            _figures(store, original[key]) if key in original else None,
            _compared(store, original[key].ref, manifest.ref) if key in original else {},
        )
        for key, manifest in sorted(edited.items(), key=lambda pair: pair[1].circumstances.ended)
    ]


def _compared(store: Store, first: ArtifactRef, second: ArtifactRef) -> dict[str, Difference]:
    """The newest sound comparison of two evaluations; empty where there is none."""
    found = []
    for item in store.refs():
        if item.kind == "differences":
            manifest = store.manifest(item)
            inputs = manifest.recipe.inputs
            if (inputs.get("first"), inputs.get("second")) == (first, second):
                found.append(manifest)
    for manifest in sorted(found, key=lambda item: item.circumstances.ended, reverse=True):
        with suppress(ArtifactError):
            store.check(manifest.ref)
            return read_differences(store.path(manifest.ref))
    return {}


def _data_of(store: Store, evaluation: Manifest, edited_as: set[ArtifactRef]) -> list[ArtifactRef]:
    return [item for item in inputs_of(store, evaluation.ref).values() if item not in edited_as]


def _data_key(store: Store, evaluation: ArtifactRef) -> str:
    """What two evaluations share exactly where they measured on the same data."""
    data = {}
    for role, item in inputs_of(store, evaluation).items():
        if role == "model":
            continue
        recipe = store.manifest(item).recipe
        settings = {name: recipe.settings[name] for name in _OF_THE_DATA if name in recipe.settings}
        data[role] = {"shards": recipe.inputs.get(_SHARDS), "settings": settings}
    return canonical_json({**data, "counted": store.manifest(evaluation).recipe.settings.get("counted")})


def _figures(store: Store, evaluation: Manifest) -> Figures:
    folder = store.path(evaluation.ref)
    intervals = read_intervals(folder) if (folder / INTERVALS_FILE).is_file() else {}
    return Figures(evaluation.version, read_metrics(folder), intervals, read_chance(folder))
