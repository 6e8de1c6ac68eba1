"""How long artifacts took, from a store's own records."""

from collections.abc import Iterator
from datetime import datetime

from data_specs.errors import ArtifactError
from data_specs.folding import SAMPLES_READ
from data_specs.manifest import PART, ArtifactRef, Manifest, Recipe
from tasks.lineage.contents import read_manifest
from tasks.lineage.store import Store
from tasks.planning.work import Work

_NEWEST = 20
# What an artifact of another model or of other layers took says nothing.
_ALIKE = ("architecture", "model_cfg", "layers", "precision", "scorer", "statistics", "sums_by_tag", "decoding")
_ALIKE_INPUTS = ("captioner",)


class Paces:
    """Seconds of the newest artifacts of each kind, of a like model on the same device."""

    def __init__(self, store: Store, device: str) -> None:
        """Look into `store` for what was made on `device`."""
        self._store, self._device = store, device
        self._newest: dict[str, list[Manifest]] = {}

    def seconds(self, recipe: Recipe, work: Work) -> float | None:
        """How long making an artifact would take, as long as the last ones like it did.

        Returns:
            None where the store holds none.
        """
        # The parts of a folded set are gone; it knows itself how much was read for it.
        kind = recipe.kind + PART if "parts" in recipe.inputs else recipe.kind
        alike = [item for item in self._of(kind) if _is_alike(item.recipe, recipe)]
        if not alike:
            return None
        spent = sum(_duration(item) for item in alike)
        if not work.samples:
            return spent / len(alike)
        n_samples = sum(_samples(item) for item in alike)
        return spent / n_samples * work.samples if n_samples else None

    def _of(self, kind: str) -> list[Manifest]:
        if kind not in self._newest:
            self._newest[kind] = [item for item in self._read(kind) if item.circumstances.device == self._device]
        return self._newest[kind]

    def _read(self, kind: str) -> Iterator[Manifest]:
        try:
            folders = sorted((self._store.root / kind).iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        except OSError:
            return
        for folder in folders[:_NEWEST]:
            try:
                yield read_manifest(folder, ArtifactRef(kind=kind, version=folder.name))
            except (ArtifactError, ValueError):
                continue  # a broken one is `uwm artifacts list`'s to tell


def _is_alike(found: Recipe, asked: Recipe) -> bool:
    return all(found.settings.get(name) == asked.settings.get(name) for name in _ALIKE) and all(
        found.inputs.get(name) == asked.inputs.get(name) for name in _ALIKE_INPUTS
    )


def _duration(manifest: Manifest) -> float:
    held = manifest.circumstances
    return (datetime.fromisoformat(held.ended) - datetime.fromisoformat(held.started)).total_seconds()


def _samples(manifest: Manifest) -> int:
    """What went through the model for an artifact, as `Work.samples` counts it."""
    settings, stage = manifest.recipe.settings, manifest.recipe.kind.partition(".")[0]
    if stage == "class_embeddings":
        return len(settings["class_names"]) * len(settings["templates"])  # type: ignore[arg-type]
    if stage in ("layer_scores", "slopes"):
        of_shards = settings["samples"]
        encoder = manifest.recipe.kind.partition(".")[2]
        n_samples = sum(of_shards[encoder].values()) if isinstance(of_shards, dict) else 0  # type: ignore[union-attr, arg-type]
        # Both members of each pair have a slope.
        return n_samples * (2 if stage == "slopes" else 1)
    if stage == "judgements":
        return sum(manifest.counts["outcomes"].values())
    if SAMPLES_READ in manifest.counts:
        return int(manifest.counts[SAMPLES_READ])
    return int(str(settings["samples"])) * (2 if settings["content"] is None else 1)
