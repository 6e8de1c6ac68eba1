"""Parts whose rows another model's are, bit for bit: a LLaVA's tower and the CLIP that it is of.

Versions do not say so, as each is a digest of what its maker knows: a CLIP's parts name all of its vision encoder. So a store
remembers which tensors the encoders have of which it holds parts, in `STORE/.encoders/DIGEST.json`, whose own digest is the encoder's.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_specs.errors import ArtifactError
from data_specs.families import encoder_of
from data_specs.manifest import ArtifactRef, Manifest, Recipe, Source
from data_specs.run_config import Encoder
from data_specs.schemas import layer_folder
from tasks.encoders.loading import LoadedModel
from tasks.encoders.upstream import upstream_of
from tasks.extraction.parts import Part
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import canonical_json, text_sha256
from tasks.lineage.planned import PlannedStore
from tasks.lineage.progress import notice
from tasks.lineage.store import Build, Store

_FOLDER = ".encoders"
_ENCODER: Encoder = "vision"
_OF_THE_MODEL = ("model_cfg", "preprocess_cfg", "layers")  # settings of a part that `upstream_of` compares
_MODEL = "encoder"  # the input that is the model


def take_equal_parts(parts: Sequence[Part], loaded: LoadedModel, store: Store, context: RunContext) -> None:
    """Take what is lacking of some parts of activations from those of other models in the store, where the rows are the same.

    That they are is known by digests of all tensors that the layers' inputs depend on, by settings, code, shard and samples.
    A part says in its manifest which one it was taken from. In a plan such parts count as there.

    Args:
        parts: of the vision encoder.
        loaded: their model.
        store: is looked through, and takes them.
        context: how the run is carried out.
    """
    tensors = {name: digest for name, digest in loaded.digests.items() if encoder_of(name) == _ENCODER}
    if store.makes and parts:
        _remember(store.root, tensors)
    lacking = [part for part in parts if not store.holds(part.ref)]
    equals = _Equals(store, lacking[0].recipe, tensors) if lacking else None
    if equals is None or not equals.encoders:
        return
    found = {part.ref: equal for part in lacking if (equal := equals.of(part.recipe)) is not None}
    if isinstance(store, PlannedStore):
        store.note_taken(found)
        return
    taken = [part for part in lacking if part.ref in found and _take(part, found[part.ref], store, context)]
    if taken:
        notice(
            f"activations.{_ENCODER}: {len(taken)} of {len(parts)} shards were read for another model whose rows these are, bit"
            " for bit, and are taken from it"
        )


def _take(part: Part, equal: Manifest, store: Store, context: RunContext) -> bool:
    try:
        store.ensure(equal.ref)
    except ArtifactError as error:
        notice(f"nothing is taken of another model: {error}")
        return False
    folders = {layer_folder(_ENCODER, layer) for layer in _layers(part.recipe)}

    def write(build: Build) -> None:
        for entry in equal.files:
            if Path(entry.path).parent.as_posix() in folders:
                build.take(store.path(equal.ref), entry, entry.path)
        build.counts.update(equal.counts)
        build.sources.extend(Source(**source.model_dump() | {"location": part.location}) for source in equal.sources)
        build.taken_from.append(equal.ref)

    store.materialise(part.recipe, write, context)
    return True


@dataclass(frozen=True)
class _Upstream:
    """What the layers of a part depend on, of the model that it is of."""

    tensors: Mapping[str, str]

    def of(self, recipe: Recipe, layers: Sequence[str]) -> dict[str, Any] | None:
        model_cfg, preprocess_cfg = (recipe.settings[name] for name in ("model_cfg", "preprocess_cfg"))
        if not isinstance(model_cfg, dict) or not isinstance(preprocess_cfg, dict):
            return None
        return upstream_of(layers, model_cfg, preprocess_cfg, self.tensors)


class _Equals:
    """Parts of other models in a store, of one kind."""

    def __init__(self, store: Store, some: Recipe, tensors: Mapping[str, str]) -> None:
        """Look for models whose tensors the layers of `some` part depend on."""
        self._store, self._kind, self._layers = store, some.kind, _layers(some)
        self._upstream = _Upstream(tensors).of(some, self._layers)
        self.encoders = {} if self._upstream is None else dict(self._others(self._upstream["tensors"], some))
        self._by_shard: dict[str, list[Manifest]] = {}
        for manifest in self._parts() if self.encoders else ():
            if manifest.recipe.inputs.get(_MODEL) in self.encoders:
                self._by_shard.setdefault(str(manifest.recipe.inputs["shard"]), []).append(manifest)

    def of(self, recipe: Recipe) -> Manifest | None:
        """A part with the same rows of the same samples, perhaps of more layers."""
        found = self._by_shard.get(str(recipe.inputs["shard"]), [])
        return next((manifest for manifest in found if self._is_equal(recipe, manifest.recipe)), None)

    def _is_equal(self, recipe: Recipe, other: Recipe) -> bool:
        return (
            other.code == recipe.code
            and _without(other.settings, _OF_THE_MODEL) == _without(recipe.settings, _OF_THE_MODEL)
            and _without(other.inputs, (_MODEL,)) == _without(recipe.inputs, (_MODEL,))
            and {*self._layers} <= {*_layers(other)}
            and self.encoders[str(other.inputs[_MODEL])].of(other, self._layers) == self._upstream
        )

    def _others(self, wanted: Mapping[str, str], some: Recipe) -> Iterator[tuple[str, _Upstream]]:
        own = some.inputs[_MODEL]
        for path in sorted(self._store.root.glob(f"{_FOLDER}/*.json")):
            tensors = _remembered(path) if path.stem != own else None
            if tensors is not None and wanted.items() <= tensors.items():
                yield path.stem, _Upstream(tensors)

    def _parts(self) -> Iterator[Manifest]:
        folder = self._store.root / self._kind
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            with suppress(ArtifactError, ValueError):  # what is broken is no part to take
                ref = ArtifactRef(kind=self._kind, version=path.name)
                if self._store.is_here(ref):
                    yield self._store.manifest(ref)


def _layers(recipe: Recipe) -> list[str]:
    layers = recipe.settings["layers"]
    return [str(layer) for layer in layers] if isinstance(layers, list) else []


def _without(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


def _remember(root: Path, tensors: Mapping[str, str]) -> None:
    """Write down which tensors an encoder has; a store that cannot be written goes without."""
    text = canonical_json(dict(tensors))
    path = root / _FOLDER / f"{text_sha256(text)}.json"
    with suppress(OSError):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, path)


def _remembered(path: Path) -> dict[str, str] | None:
    """The tensors of an encoder; None where the file is not what its name says."""
    with suppress(OSError, ValueError):
        text = path.read_text(encoding="utf-8")
        if text_sha256(text) == path.stem:
            found: dict[str, str] = json.loads(text)
            return found
    return None
