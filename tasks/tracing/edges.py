"""What was made of what, over a whole store."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from data_specs.manifest import ArtifactRef
from tasks.tracing.index import Index
from tasks.tracing.rows import flattened

_ENCODER, _MODEL = "encoder", "model"
_EMBEDDED = ("embeddings", "class_embeddings")


class Input(NamedTuple):
    """One thing that an artifact was made of: another artifact, or the digest of something from outside, or both.

    Both where the digest is of a model that the artifact holds.
    """

    role: str
    position: int
    kind: str | None
    version: str | None
    sha256: str | None


class Edges:
    """The inputs of every artifact, by its version, and which artifacts name a version or digest as an input."""

    def __init__(self, index: Index) -> None:
        """Read all inputs from the index."""
        rows = flattened(index.table("inputs"), "inputs")
        columns = (
            rows.column(name).to_pylist() for name in ("role", "position", "input_kind", "input_version", "sha256")
        )
        table = index.table()
        self._kinds: dict[str, str] = dict(
            zip(table.column("version").to_pylist(), table.column("kind").to_pylist(), strict=True)
        )
        self._inputs: dict[str, list[Input]] = defaultdict(list)
        for version, *row in zip(rows.column("version").to_pylist(), *columns, strict=True):
            self._inputs[version].append(Input(*row))
        self._digests = _encoder_digests(index)

    @property
    def versions(self) -> Mapping[str, str]:
        """The kind of every artifact, by its version."""
        return self._kinds

    def as_recorded(self, version: str) -> list[Input]:
        """What an artifact was made of, as its manifest says."""
        return self._inputs.get(version, [])

    def inputs(self, version: str) -> list[Input]:
        """What an artifact was made of; see `with_models`."""
        found = self._inputs.get(version, [])
        if not self._kinds.get(version, "").startswith(_EMBEDDED):
            return found
        return [each for item in found for each in self.with_models(self._kinds[version], item)]

    def with_models(self, kind: str, item: Input) -> list[Input]:
        """An input of an artifact of some kind; of the digest of an edited model's encoder, with each model or edit it is of.

        Manifests of format 1 do not say it themselves, and several edits may have left the same encoder.
        """
        known = item.version is not None or item.role != _ENCODER or not kind.startswith(_EMBEDDED)
        models = [] if known else self._models.get(item.sha256 or "", [])
        return [Input(item.role, item.position, ref.kind, ref.version, item.sha256) for ref in models] or [item]

    @cached_property
    def used_by(self) -> Mapping[str, list[str]]:
        """By version or digest, the versions of the artifacts that it is an input of."""
        found: dict[str, list[str]] = defaultdict(list)
        for version in self._inputs:
            for item in self.inputs(version):
                for name in (item.version, item.sha256):
                    # Of several roles in one artifact, the last one that was put down is its own.
                    if name is not None and (name not in found or found[name][-1] != version):
                        found[name].append(version)
        return found

    def downstream(self, first: Iterable[ArtifactRef]) -> list[ArtifactRef]:
        """Some artifacts and all that was made of them, each behind what it was made of."""
        kinds = {ref.version: ref.kind for ref in first}
        pending = [*kinds]
        while pending:
            for other in self.used_by.get(pending.pop(), ()):
                if other not in kinds:
                    kinds[other] = self._kinds[other]
                    pending.append(other)
        behind = {version: {item.version for item in self.inputs(version)} & kinds.keys() for version in kinds}
        # Manifests that were forged may go round in a circle.
        with suppress(CycleError):
            order = [*TopologicalSorter(behind).static_order()]
            depth: dict[str | None, int] = {}
            for version in order:
                depth[version] = max((depth[item] + 1 for item in behind[str(version)]), default=0)
            kinds = {version: kinds[version] for version in sorted(kinds, key=lambda v: (depth[v], kinds[v], v))}
        return [ArtifactRef.model_construct(kind=kind, version=version) for version, kind in kinds.items()]

    @cached_property
    def _models(self) -> dict[str, list[ArtifactRef]]:
        """By an encoder's digest, the edited models and edits that it is of; nothing for the original's."""
        base = {
            item.sha256
            for version, inputs in self._inputs.items()
            if not self._kinds[version].startswith(_EMBEDDED)
            for item in inputs
            if item.role == _ENCODER and item.sha256
        }
        edited: dict[str, list[ArtifactRef]] = defaultdict(list)
        for version, kind in self._kinds.items():
            if kind == "evaluation":
                measured = next((item for item in self._inputs[version] if item.role == _MODEL), None)
                digests = {*self._embedded_with(version)}
                if measured is None or measured.version is None or measured.kind is None:
                    base |= digests
                else:
                    _add(edited, digests, ArtifactRef.model_construct(kind=measured.kind, version=measured.version))
        for ref, own in self._digests.items():
            _add(edited, own, ref)
        return {digest: refs for digest, refs in edited.items() if digest not in base}

    def _embedded_with(self, evaluation: str) -> Iterator[str]:
        pending = [
            item.version
            for item in self._inputs[evaluation]
            if item.version and (item.kind or "").startswith(_EMBEDDED)
        ]
        for version in pending:
            for item in self._inputs.get(version, ()):
                if item.role == _ENCODER and item.sha256:
                    yield item.sha256
                elif item.role == "parts" and item.version:
                    pending.append(item.version)


def _add(found: dict[str, list[ArtifactRef]], digests: Iterable[str], ref: ArtifactRef) -> None:
    for digest in digests:
        if ref not in found[digest]:
            found[digest].append(ref)


def _encoder_digests(index: Index) -> dict[ArtifactRef, list[str]]:
    found: dict[ArtifactRef, list[str]] = {}
    table = index.table("counts")
    kinds, versions, counts = (table.column(name).to_pylist() for name in ("kind", "version", "counts"))
    for kind, version, told in zip(kinds, versions, counts, strict=True):
        if kind == _MODEL and told:
            digests = json.loads(told).get("encoder_digests", {})
            found[ArtifactRef.model_construct(kind=kind, version=version)] = [*digests.values()]
    return found
