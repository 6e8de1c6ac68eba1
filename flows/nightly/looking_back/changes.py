"""What is not as it was when a model was last measured on a set."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from data_specs.night import Measured
from data_specs.wording import shortened, shown
from tasks.lineage.runs import dotted_settings

_DIGEST_CHARS, _MOST_LIBRARIES = 12, 6
# Of a watch's settings those that change what is measured; what else is in them changes shards, models or gates.
_ACTING = ("seed", "precision", "batch_size", "decoder", "max_bad_fraction")


@dataclass(frozen=True)
class ShardChange:
    """Shards that came and went."""

    added: list[str]  # locations, SHA-256 of those that have none on record
    removed: list[str]  # SHA-256


def shards_changed(before: Measured, after: Measured) -> ShardChange:
    """Which shards differ between two measurements; nothing where one of them names none."""
    if not before.shards or not after.shards:
        return ShardChange([], [])
    added = [digest for digest in after.shards if digest not in {*before.shards}]
    removed = [digest for digest in before.shards if digest not in {*after.shards}]
    # Where they lie is on record for those that came since the night before, which need not be `before`.
    told = after.shards_added if len(after.shards_added) == len(added) else added
    return ShardChange([*told], removed)


def changes_between(
    before: Measured, after: Measured, settings_before: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[str]:
    """What else differs, a clause each, what a figure depends on most first.

    Args:
        before: the one measurement.
        after: the other.
        settings_before: of the watch, or of the run, at `before`.
        settings: at `after`.
    """
    told = [*_moved("model", before.what, after.what), *_moved("baseline", before.baseline, after.baseline)]
    if before.shards and before.shards != after.shards and {*before.shards} == {*after.shards}:
        told.append("shards in another order")
    told += _settings(settings_before, settings)
    if before.code and after.code and before.code != after.code:
        told.append("other code measured it")
    libraries = [*_libraries(before.libraries, after.libraries)]
    told += libraries
    if not libraries and before.environments and after.environments and before.environments != after.environments:
        told.append("another environment (machine, kind of device or installed files)")
    return told


def _moved(what: str, before: str | None, after: str | None) -> Iterator[str]:
    if before and after and before != after:
        yield f"{what} {before[:_DIGEST_CHARS]} -> {after[:_DIGEST_CHARS]}"


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    ours, theirs = dict(dotted_settings(dict(before))), dict(dotted_settings(dict(after)))
    for name in _ACTING:
        if name in ours and name in theirs and ours[name] != theirs[name]:
            yield f"{name} {shown(ours[name])} -> {shown(theirs[name])}"


def _libraries(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    if not before or not after:
        return
    differing = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    for name in differing[:_MOST_LIBRARIES]:
        versions = (shortened(found.get(name, "none"), 40) for found in (before, after))
        yield f"{name} {' -> '.join(versions)}"
    if len(differing) > _MOST_LIBRARIES:
        yield f"{len(differing) - _MOST_LIBRARIES} more libraries"
