"""What differs between two artifacts of one kind by itself, and not for what they were made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from data_specs.manifest import ArtifactRef, Manifest
from tasks.lineage.digest import canonical_json
from tasks.lineage.runs import dotted_settings
from tasks.tracing.edges import Input

What = Literal["setting", "shard", "weights", "input", "module", "code", "library", "device", "precision", "hardware"]
_PARTS, _ENCODER = "parts", "encoder"
_SHARDS = ("shard", "shards", "calibration", "evaluation")
_OF_WEIGHTS = (_ENCODER, "model")
# What a set counts of its shards, and what a report tells of manifests, follow from what differs elsewhere.
_COUNTED, _TOLD = ("samples", "contents"), "box"
_ORDER = "order of the shards"


@dataclass(frozen=True)
class Differing:
    """A thing that differs: what it is, its name, and its two values; None where one side has none."""

    what: What
    name: str
    first: str | None
    second: str | None


@dataclass(frozen=True)
class Side:
    """One of two artifacts that are compared."""

    manifest: Manifest
    inputs: Sequence[Input]

    @cached_property
    def artifacts(self) -> dict[str, list[ArtifactRef]]:
        """Those that it was made of, by role."""
        found: dict[str, list[ArtifactRef]] = {}
        for item in self.inputs:
            if item.kind is not None and item.version is not None:
                ref = ArtifactRef.model_construct(kind=item.kind, version=item.version)
                found.setdefault(item.role, []).append(ref)
        return found

    @cached_property
    def digests(self) -> dict[str, list[str]]:
        """Those of what came from outside, by role; an edited model's are told by the model."""
        found: dict[str, list[str]] = {}
        for item in self.inputs:
            if item.sha256 is not None and item.version is None:
                found.setdefault(item.role, []).append(item.sha256)
        return found

    @cached_property
    def parts_by_shard(self) -> dict[str, ArtifactRef] | None:
        """The part of each shard; None where the artifact does not say."""
        parts, shards = self.artifacts.get(_PARTS, []), self.digests.get("shards", [])
        return dict(zip(shards, parts, strict=True)) if len(parts) == len(shards) else None

    def place(self, digest: str) -> str:
        """Where something from outside lay, as far as the manifest says it."""
        told = self.manifest.model_dump(include={"sources", "weights"})
        places = [
            item["location"]
            for name in ("sources", "weights")
            for item in told.get(name, [])
            if digest in item.values()
        ]
        return str(places[0]) if places else digest


def local_differences(first: Side, second: Side) -> Iterator[Differing]:
    """What differs between two artifacts but for the artifacts that they were made of."""
    yield from _settings(first, second)
    yield from _from_outside(first, second)
    yield from _missing_inputs(first, second)
    yield from _code(first.manifest, second.manifest)
    yield from _circumstances(first.manifest, second.manifest)


def _settings(first: Side, second: Side) -> Iterator[Differing]:
    shards_differ = any(first.digests.get(role) != second.digests.get(role) for role in _SHARDS)
    ours, theirs = (dict(_told(side.manifest.recipe.settings)) for side in (first, second))
    for name, one, other in _differing(ours, theirs):
        section = name.partition(".")[0]
        if section != _TOLD and not (shards_differ and section in _COUNTED):
            yield Differing("setting", name, one, other)


def _told(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in dotted_settings(dict(settings)):
        yield name, value if isinstance(value, str) else canonical_json(value)


def _from_outside(first: Side, second: Side) -> Iterator[Differing]:
    for role in dict.fromkeys((*first.digests, *second.digests)):
        ours, theirs = first.digests.get(role, []), second.digests.get(role, [])
        if ours == theirs:
            continue
        if role in _SHARDS:
            yield from _shards(first, second, role)
        elif ours and theirs:
            yield Differing("weights" if role in _OF_WEIGHTS else "input", _name(role, first, ours), ours[0], theirs[0])


def _name(role: str, side: Side, digests: Sequence[str]) -> str:
    place = side.place(digests[0])
    return role if place == digests[0] else f"{role} {place}"


def _shards(first: Side, second: Side, role: str) -> Iterator[Differing]:
    ours, theirs = first.digests.get(role, []), second.digests.get(role, [])
    removed = {first.place(digest): digest for digest in ours if digest not in theirs}
    added = {second.place(digest): digest for digest in theirs if digest not in ours}
    for place in dict.fromkeys((*removed, *added)):
        yield Differing("shard", place, removed.get(place), added.get(place))
    if not removed and not added:
        yield Differing("shard", _ORDER, canonical_json(ours), canonical_json(theirs))


def _missing_inputs(first: Side, second: Side) -> Iterator[Differing]:
    """Roles that one side has nothing in, or something of another kind."""
    for role in dict.fromkeys((*first.artifacts, *second.artifacts)):
        if role == _PARTS:
            continue
        ours, theirs = first.artifacts.get(role, []), second.artifacts.get(role, [])
        if (len(ours) != len(theirs) and role != _ENCODER) or [ref.kind for ref in ours[:1]] != [
            ref.kind for ref in theirs[:1]
        ]:
            yield Differing("input", role, _words(first, role), _words(second, role))


def _words(side: Side, role: str) -> str | None:
    told = [f"{ref.kind} {ref.version}" for ref in side.artifacts.get(role, [])] or side.digests.get(role, [])
    return ", ".join(told) or None


def _code(first: Manifest, second: Manifest) -> Iterator[Differing]:
    if first.recipe.code == second.recipe.code:
        return
    found = [*_differing(first.modules, second.modules)]
    for module, one, other in found:
        yield Differing("module", f"{module.replace('.', '/')}.py", one, other)
    if not found:
        yield Differing("code", first.recipe.kind, first.recipe.code, second.recipe.code)


def _circumstances(first: Manifest, second: Manifest) -> Iterator[Differing]:
    ours, theirs = (manifest.circumstances.model_dump() for manifest in (first, second))
    versions = {name: True for name, _, _ in _differing(ours["libraries"], theirs["libraries"])}
    for name, one, other in _differing(ours["libraries"], theirs["libraries"]):
        yield Differing("library", name, one, other)
    # Older manifests hold neither the digests of what was installed nor the hardware.
    for what, part in (("library", "records"), ("hardware", "hardware")):
        if ours.get(part) and theirs.get(part):
            for name, one, other in _differing(ours[part], theirs[part]):
                if name not in versions:
                    yield Differing(what, f"{name}, its files" if part == "records" else name, one, other)  # type: ignore[arg-type]
    for name in ("device", "precision"):
        if ours[name] != theirs[name]:
            yield Differing(name, name, ours[name], theirs[name])  # type: ignore[arg-type]


def _differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> Iterator[tuple[str, str | None, str | None]]:
    for name in dict.fromkeys((*ours, *theirs)):
        if ours.get(name) != theirs.get(name):
            yield name, ours.get(name), theirs.get(name)
