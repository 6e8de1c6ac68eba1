"""What a store says of itself as tables for SQL: all manifests, runs and tags."""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_specs.errors import SpecError
from data_specs.tag import TagEvent
from data_specs.wording import one_line
from tasks.extraction.table_reader import query_as_asked
from tasks.lineage.exports import export_records
from tasks.lineage.runs import run_records
from tasks.lineage.tags import tag_history
from tasks.tracing.index import Index, open_index
from tasks.tracing.rows import LISTED, SINGLE, flattened, moment, setting_rows

_TEXT, _NUMBER, _SHARE, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("ms")
_Records = list[dict[str, Any]]
_Columns = Mapping[str, pa.DataType]

# Of each run a row; of one of several settings a row for each.
_RUNS: _Columns = {
    **dict.fromkeys(("id", "name", "status", "command", "user", "host"), _TEXT),
    **dict.fromkeys(("started", "ended"), _TIME),
    **dict.fromkeys(("computed", "reused"), _NUMBER),
    "error": _TEXT,
}
_RUN_ARTIFACTS: _Columns = dict.fromkeys(("run", "name", "role", "version"), _TEXT)
_FIGURES: _Columns = {
    **dict.fromkeys(("run", "name", "model", "metric"), _TEXT),
    **dict.fromkeys(("value", "low", "high"), _SHARE),
}
_TAGS: _Columns = {**dict.fromkeys(("tag", "kind", "version", "given", "user", "host"), _TEXT), "at": _TIME}
_EXPORTS: _Columns = {
    **dict.fromkeys(("id", "kind", "version", "form", "out", "pushed", "user", "host"), _TEXT),
    "at": _TIME,
}
# Words that ask for the tables themselves.
_ANY_TABLE = re.compile(r"\b(show|information_schema|duckdb_\w+|pg_\w+|pragma_\w+|query|query_table)\b", re.IGNORECASE)


def answer(root: Path, sql: str) -> pa.Table:
    """Answer a SELECT over the store at `root`; nothing else can be read and nothing changed.

    Raises:
        SpecError: it is no single SELECT, or cannot be answered.
        ArtifactError: the store cannot be read.
    """
    words = {word.lower() for word in re.findall(r"\w+", sql)}
    names = [*TABLES] if _ANY_TABLE.search(sql) else [name for name in TABLES if name in words]
    try:
        return query_as_asked(sql, store_tables(root, names))
    except ValueError as error:
        raise SpecError(
            f"cannot answer: {one_line(str(error), 400)}; expected one SELECT over {', '.join(TABLES)} (`DESCRIBE files`"
            " shows columns)"
        ) from error


def store_tables(root: Path, names: Iterable[str]) -> dict[str, pa.Table]:
    """Some of `TABLES` of the store at `root`."""
    index, records = open_index(root), run_records(root)
    return {name: TABLES[name](root, index, records) for name in names}


def _artifacts(_root: Path, index: Index, _records: _Records) -> pa.Table:
    return index.table(*SINGLE)


def _list_of(name: str) -> Callable[[Path, Index, _Records], pa.Table]:
    return lambda _root, index, _records: flattened(index.table(name), name)


def _settings(root: Path, index: Index, records: _Records) -> pa.Table:
    """Those of recipes, and those of runs, which have an id in place of kind and version."""
    own = flattened(index.table("settings"), "settings")
    own = own.add_column(0, "run", pa.nulls(own.num_rows, _TEXT))
    rows = ((record.get("id"), None, None, *row) for record in records for row in setting_rows(record["settings"]))
    return pa.concat_tables([own, _table(own.schema, rows)])


def _runs(_root: Path, _index: Index, records: _Records) -> pa.Table:
    def row(record: dict[str, Any]) -> Iterator[Any]:
        for name, kind in _RUNS.items():
            value = record["settings"]["name"] if name == "name" else record.get(name)
            if name == "command" and isinstance(value, list):
                value = shlex.join(map(str, value))
            yield moment(value) if kind == _TIME else _fitting(value, kind)

    return _table(_RUNS, map(row, records))


def _run_artifacts(_root: Path, _index: Index, records: _Records) -> pa.Table:
    return _table(
        _RUN_ARTIFACTS,
        (
            (record.get("id"), record["settings"]["name"], role, version)
            for record in records
            for role, version in (record.get("artifacts") or {}).items()
        ),
    )


def _figures(_root: Path, _index: Index, records: _Records) -> pa.Table:
    def rows() -> Iterator[tuple[Any, ...]]:
        for record in records:
            intervals = record.get("intervals") or {}
            for model, figures in (record.get("figures") or {}).items():
                for metric, value in figures.items():
                    low, high = intervals.get(model, {}).get(metric) or (None, None)
                    yield record.get("id"), record["settings"]["name"], model, metric, value, low, high

    return _table(_FIGURES, rows())


def _exports(root: Path, _index: Index, _records: _Records) -> pa.Table:
    def row(record: dict[str, Any]) -> Iterator[Any]:
        for name, kind in _EXPORTS.items():
            value = record.get(name)
            yield moment(value) if kind == _TIME else _fitting(value, kind)

    return _table(_EXPORTS, map(row, export_records(root)))


def _tags(root: Path, _index: Index, _records: _Records) -> pa.Table:
    newest = {event.name: event for event in tag_history(root)}
    return _table(_TAGS, (_tag_row(event) for event in newest.values() if event.artifact is not None))


def _tag_history(root: Path, _index: Index, _records: _Records) -> pa.Table:
    return _table(_TAGS, map(_tag_row, tag_history(root)))


def _tag_row(event: TagEvent) -> tuple[Any, ...]:
    kind, version = (event.artifact.kind, event.artifact.version) if event.artifact else (None, None)
    return event.name, kind, version, event.given, event.user, event.host, moment(event.at)


def _table(columns: _Columns | pa.Schema, rows: Iterable[Iterable[Any]]) -> pa.Table:
    schema = columns if isinstance(columns, pa.Schema) else pa.schema([*columns.items()])
    values = [*zip(*rows, strict=True)] or [()] * len(schema)
    return pa.table([pa.array(of, field.type) for of, field in zip(values, schema, strict=True)], schema=schema)


def _fitting(value: Any, kind: pa.DataType) -> Any:
    """A value of a record, which anybody may have written, or None where it is of another type."""
    return value if isinstance(value, str if kind == _TEXT else int) else None


TABLES: dict[str, Callable[[Path, Index, _Records], pa.Table]] = {
    "artifacts": _artifacts,
    **{name: _list_of(name) for name in LISTED if name != "settings"},
    "settings": _settings,
    "runs": _runs,
    "run_artifacts": _run_artifacts,
    "figures": _figures,
    "exports": _exports,
    "tags": _tags,
    "tag_history": _tag_history,
}
