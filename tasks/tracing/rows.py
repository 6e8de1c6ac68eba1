"""Manifests as rows: one an artifact, with what it lists in columns of their own; format 1 lacks some, which are null."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from data_specs.json_text import parse_json
from data_specs.manifest import ArtifactRef
from tasks.lineage.digest import canonical_json
from tasks.lineage.runs import dotted_settings

_TEXT, _NUMBER, _TIME = pa.string(), pa.int64(), pa.timestamp("ms")
# What stands once in a manifest.
SINGLE: dict[str, pa.DataType] = {
    "kind": _TEXT,
    "version": _TEXT,
    "problem": _TEXT,  # why it cannot be used; null where it can
    "pruned": pa.bool_(),  # whether its files were dropped
    "format": _NUMBER,
    "digest": _TEXT,  # of the manifest
    "code": _TEXT,
    **dict.fromkeys(("device", "precision"), _TEXT),
    "seed": pa.uint64(),
    **dict.fromkeys(("product", "git_commit"), _TEXT),
    "git_dirty": pa.bool_(),
    **dict.fromkeys(("run", "flow_run_id", "command", "user", "host", "runner", "environment"), _TEXT),
    **dict.fromkeys(("started", "ended"), _TIME),  # UTC
    **dict.fromkeys(("n_files", "size_bytes"), _NUMBER),
    "counts": _TEXT,  # JSON
}
# What it lists: a table each.
LISTED: dict[str, dict[str, pa.DataType]] = {
    "inputs": {
        "role": _TEXT,
        "position": _NUMBER,  # within the role, from 0
        "input_kind": _TEXT,  # null: a digest of something from outside
        "input_version": _TEXT,
        "manifest": _TEXT,  # digest that the input's manifest had
        "sha256": _TEXT,  # null: an artifact
    },
    "files": {"path": _TEXT, "sha256": _TEXT, "size_bytes": _NUMBER},
    "sources": {
        "what": _TEXT,  # shard or weights
        "location": _TEXT,
        "sha256": _TEXT,
        "size_bytes": _NUMBER,
        "tensors": _TEXT,  # digest of a model's tensors
    },
    "settings": {"name": _TEXT, "value": _TEXT, "number": pa.float64()},
    "modules": {"module": _TEXT, "digest": _TEXT},
    "libraries": {"library": _TEXT, "installed": _TEXT, "record": _TEXT},
}
_IN_CIRCUMSTANCES = (
    *("device", "precision", "seed", "product", "git_commit", "git_dirty", "run", "flow_run_id"),
    *("user", "host", "runner", "environment"),
)


class Rows:
    """Gathers manifests; `table` has a row each."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._single: dict[str, list[Any]] = {name: [] for name in SINGLE}
        self._listed: dict[str, list[tuple[Any, ...]]] = {name: [] for name in LISTED}
        self._lengths: dict[str, list[int]] = {name: [0] for name in LISTED}

    def add(self, ref: ArtifactRef, content: bytes, *, problem: str | None = None, pruned: bool = False) -> None:
        """Add a manifest; of one with a problem nothing but that."""
        told = {} if problem else parse_json(content)
        single = {**_single(told), "kind": ref.kind, "version": ref.version, "problem": problem, "pruned": pruned}
        for name, values in self._single.items():
            values.append(single.get(name))
        for name, rows in self._listed.items():
            rows.extend(_LISTING[name](told) if told else ())
            self._lengths[name].append(len(rows))

    def table(self) -> pa.Table:
        """All that were added, with a list column for each of `LISTED`."""
        columns = {name: pa.array(values, SINGLE[name]) for name, values in self._single.items()}
        for name, fields in LISTED.items():
            of_field: Sequence[Sequence[Any]] = [*zip(*self._listed[name], strict=True)] or [[] for _ in fields]
            arrays = [pa.array(values, kind) for values, kind in zip(of_field, fields.values(), strict=True)]
            offsets = pa.array(np.asarray(self._lengths[name], np.int32))
            columns[name] = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(arrays, names=[*fields]))
        return pa.table(columns)


def flattened(manifests: pa.Table, name: str) -> pa.Table:
    """One of `LISTED` as a table, behind the kind and version of whose row it is.

    Args:
        manifests: holds kind, version and the list column.
        name: of the column.
    """
    lists = manifests.column(name).combine_chunks()
    if isinstance(lists, pa.ChunkedArray):  # of no rows at all
        lists = pa.concat_arrays(lists.chunks) if lists.num_chunks else pa.array([], lists.type)
    whose = pa.array(np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy())))
    own = manifests.select(["kind", "version"]).take(whose)
    values = lists.flatten()
    return pa.table(
        {**{n: own.column(n) for n in own.column_names}, **dict(zip(LISTED[name], values.flatten(), strict=True))}
    )


def moment(text: Any) -> datetime | None:
    """A time in UTC, of text in ISO 8601; None where it is none."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
    except (TypeError, ValueError, OverflowError):
        return None


def setting_rows(settings: Mapping[str, Any]) -> Iterator[tuple[str, str | None, float | None]]:
    """Settings by dotted name, each as text (a list as JSON) and, where it is one, as a number."""
    for name, value in dotted_settings(dict(settings)):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        text = value if isinstance(value, str) else None if value is None else canonical_json(value)
        yield name, text, float(value) if is_number else None


def _single(told: Mapping[str, Any]) -> dict[str, Any]:
    if not told:
        return {}
    around, files = told["circumstances"], told["files"]
    command = around.get("command")
    return {
        **{name: around.get(name) for name in _IN_CIRCUMSTANCES},
        "format": told["format"],
        "digest": told.get("digest"),
        "code": told["recipe"]["code"],
        "command": None if command is None else shlex.join(command),
        "started": moment(around["started"]),
        "ended": moment(around["ended"]),
        "n_files": len(files),
        "size_bytes": sum(file["size_bytes"] for file in files),
        "counts": canonical_json(told.get("counts", {})),
    }


def input_rows(told: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The inputs of a manifest as JSON has it, in the order of the columns of `LISTED`."""
    made_of, recipe = told.get("inputs", {}), told["recipe"].get("inputs", {})
    for role in dict.fromkeys((*recipe, *made_of)):
        given, found = _listed(recipe.get(role, [])), made_of.get(role, [])
        for position in range(max(len(given), len(found))):
            item = given[position] if position < len(given) else None
            # An artifact may stand behind the digest of a model that it holds.
            artifact = found[position] if position < len(found) else item if isinstance(item, dict) else {}
            digest = item if isinstance(item, str) else None
            yield (
                *(role, position, artifact.get("kind"), artifact.get("version"), artifact.get("manifest")),
                digest,
            )


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _files(told: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    return ((item["path"], item["sha256"], item["size_bytes"]) for item in told["files"])


def _sources(told: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for what, name in (("shard", "sources"), ("weights", "weights")):
        for item in told.get(name, []):
            yield what, item["location"], item["sha256"], item["size_bytes"], item.get("tensors")


def _settings(told: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
    return setting_rows(told["recipe"].get("settings", {}))


def _modules(told: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
    return [*told.get("modules", {}).items()]


def _libraries(told: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    around = told["circumstances"]
    records = around.get("records", {})
    return ((name, installed, records.get(name)) for name, installed in around["libraries"].items())


_LISTING = {
    "inputs": input_rows,
    "files": _files,
    "sources": _sources,
    "settings": _settings,
    "modules": _modules,
    "libraries": _libraries,
}
