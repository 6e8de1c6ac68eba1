"""Rows of Parquet files for SQL: DuckDB sees rows, never a path, which it would take for a pattern."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.wording import one_line

# DuckDB's types are quoted in annotations: held by a function, they outlive the interpreter and complain on the screen.
_BATCH_ROWS = 65_536
# A file up to this size is read at once: its columns one by one take longer.
_SMALL_BYTES = 1 << 20
_KEPT_BYTES = 64 << 20
_PLACE = [pa.field("file_number", pa.int32()), pa.field("row_number", pa.int64())]


def open_rows(path: Path, footer: pq.FileMetaData | None = None, *, whole: bool = True) -> pq.ParquetFile:
    """A Parquet file; its path is taken as it is, whatever characters are in it.

    Args:
        path: the file.
        footer: what was read of its end before, which then is not read again.
        whole: fetch all that is asked for before any of it is decoded, into as much memory; else a row group at a time.
    """
    small = path.stat().st_size <= _SMALL_BYTES
    source = pa.BufferReader(path.read_bytes()) if small else pa.OSFile(os.fsdecode(path))
    return pq.ParquetFile(source, metadata=footer, pre_buffer=whole)


class ReadLater:
    """Parquet files of which the ends are read at once, and rows later: small ones then need not be opened again."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read the ends of `paths`, as `footers`; the first small files stay in memory until they are read, up to 64 MiB."""
        self._paths = paths
        self._kept: dict[int, pq.ParquetFile] = {}
        self._room = _KEPT_BYTES
        self.footers = [self._footer(index) for index in range(len(paths))]

    @contextmanager
    def opened(self, index: int) -> Iterator[pq.ParquetFile]:
        """One of the files, for its rows."""
        with self._kept.pop(index, None) or open_rows(self._paths[index], self.footers[index]) as file:
            yield file

    def _footer(self, index: int) -> pq.FileMetaData:
        file = open_rows(self._paths[index])
        footer, n_bytes = file.metadata, self._paths[index].stat().st_size
        if n_bytes <= min(_SMALL_BYTES, self._room):
            self._room -= n_bytes
            self._kept[index] = file
        else:
            file.close()
        return footer


def stream_rows(files: Sequence[Path], columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
    """The rows of files one after the other, to be read once.

    Args:
        files: one or more, alike.
        columns: which to read; None for all.

    Returns:
        The columns in the order of the files' own, then `file_number` and `row_number`, where each row stands.
    """
    with open_rows(files[0]) as file:
        fields = [field for field in file.schema_arrow.remove_metadata() if columns is None or field.name in columns]
    schema = pa.schema([*fields, *_PLACE])
    return pa.RecordBatchReader.from_batches(schema, _batches(files, schema))


def _batches(files: Sequence[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    names = schema.names[: -len(_PLACE)]
    for number, path in enumerate(files):
        start = 0
        with open_rows(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=names):
                place = _place(number, start, batch.num_rows)
                start += batch.num_rows
                yield pa.RecordBatch.from_arrays([*(batch.column(name) for name in names), *place], schema=schema)


def read_window(file: pq.ParquetFile, start: int, stop: int, columns: Sequence[str]) -> pa.Table:
    """Rows `start` to `stop` of a file; only the row groups that hold them are read."""
    groups: list[int] = []
    before = first = 0
    for index in range(file.num_row_groups):
        after = before + file.metadata.row_group(index).num_rows
        if before < stop and after > start:
            first = first if groups else before
            groups.append(index)
        before = after
    # Starting threads takes longer than a small file.
    table = file.read_row_groups(groups, columns=list(columns), use_threads=False)
    return table.slice(start - first, stop - start)


def query(
    sql: str,
    relations: Mapping[str, pa.Table | pa.RecordBatchReader],
    *,
    connection: "duckdb.DuckDBPyConnection | None" = None,
    parameters: Sequence[Any] = (),
) -> pa.Table:
    """Run SQL over named relations.

    Args:
        sql: names the relations as its tables; a stream once only.
        relations: tables and streams by name.
        connection: to be used again and again; None for a new one.
        parameters: values for the question marks.

    Returns:
        All rows.
    """
    connection = connection or connect()
    for name, relation in relations.items():
        connection.register(name, relation)
    try:
        return connection.sql(sql, params=list(parameters)).to_arrow_table()
    finally:
        for name in relations:
            connection.unregister(name)


def connect(**config: str | int | bool) -> "duckdb.DuckDBPyConnection":
    """DuckDB in memory, which can open no file and load no extension."""
    return duckdb.connect(config={**config, "enable_external_access": False})


def query_as_asked(sql: str, relations: Mapping[str, pa.Table]) -> pa.Table:
    """Run SQL that a person wrote over named tables; it can read nothing else and change nothing.

    Args:
        sql: one SELECT.
        relations: tables by name.

    Returns:
        All rows.

    Raises:
        ValueError: it is no SQL, no single SELECT, or DuckDB cannot answer it; the text is DuckDB's, on one line.
    """
    # Tables are those that are given: Python's variables are none, and no extension is fetched for what is unknown.
    connection = connect(python_enable_replacements=False, autoload_known_extensions=False)
    try:
        statements = connection.extract_statements(sql)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise ValueError("expected one SELECT")
        for name, relation in relations.items():
            connection.register(name, relation)
        connection.execute("SET lock_configuration = true")
        return connection.sql(statements[0]).to_arrow_table()
    except duckdb.Error as error:
        raise ValueError(one_line(str(error))) from error


def _place(file_number: int, start: int, n_rows: int) -> list[pa.Array]:
    numbers = np.full(n_rows, file_number, np.int32), np.arange(start, start + n_rows, dtype=np.int64)
    return [pa.array(values) for values in numbers]
