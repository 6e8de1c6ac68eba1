"""The tables that users pack: csv, jsonl or parquet, read a row at a time."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import DataError, SpecError
from data_specs.run_config import CONTENTS, Content

COLUMNS = ("key", "tag", "safe_text", "unsafe_text", "safe_image", "unsafe_image")
_PARQUET_BATCH_ROWS = 1024

# A row's number, counted from 1 without the header, and its values by column.
_Record = tuple[int, Mapping[str, Any]]


@dataclass(frozen=True)
class PairRow:
    """One pair to pack; a side that is absent from `texts` or `images` has no such member."""

    place: str  # names the row in errors
    key: str
    tag: str | None
    texts: Mapping[Content, str]
    images: Mapping[Content, Path]


def read_table(table: Path) -> Iterator[PairRow]:
    """The rows of a table, in order; empty values are absent, image paths start at the table's folder.

    Args:
        table: file ending in .csv, .jsonl or .parquet.

    Raises:
        SpecError: it has another ending.
        DataError: it does not exist, lacks a column, or a row cannot be read; the row and column are named.
    """
    reader = _READERS.get(table.suffix.lower())
    if reader is None:
        raise SpecError(f"table {table} ends in {table.suffix!r}; expected one of {', '.join(_READERS)}")
    if not table.is_file():
        raise DataError(f"table {table} does not exist; expected a file with the columns {', '.join(COLUMNS)}")
    return _rows(table, reader)


def _rows(table: Path, reader: Callable[[Path], Iterator[_Record]]) -> Iterator[PairRow]:
    folder = table.parent
    try:
        for number, record in reader(table):
            place = f"row {number} of {table}"
            texts = {content: _text(record, f"{content}_text", place) for content in CONTENTS}
            images = {content: _text(record, f"{content}_image", place) for content in CONTENTS}
            yield PairRow(
                place,
                _key(record, place),
                _text(record, "tag", place),
                {content: text for content, text in texts.items() if text is not None},
                {content: folder / name for content, name in images.items() if name is not None},
            )
    except UnicodeDecodeError as error:
        raise DataError(f"table {table} is not UTF-8: {error}; save it as UTF-8") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"table {table} cannot be read: {str(error).splitlines()[0]}") from error


def _text(record: Mapping[str, Any], column: str, place: str) -> str | None:
    value = record[column]
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"{place}, column {column}: got {value!r} ({type(value).__name__}), expected text or nothing")
    return value if value.strip() else None


def _key(record: Mapping[str, Any], place: str) -> str:
    value = record["key"]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    key = _text(record, "key", place)
    if key is None:
        raise DataError(f"{place}, column key: it is empty, expected a name that no other row has")
    return key


def _csv_records(table: Path) -> Iterator[_Record]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        number = 0
        try:
            header = next(lines, [])
            _require_columns(header, f"the header of {table}")
            doubled = sorted(name for name in COLUMNS if header.count(name) > 1)
            if doubled:
                raise DataError(f"table {table} has column {doubled[0]} twice; expected each column once")
            for values in lines:
                if not values:
                    continue
                number += 1
                if len(values) != len(header):
                    raise DataError(
                        f"row {number} of {table} (line {lines.line_num}) has {len(values)} values, but the header names"
                        f" {len(header)} columns; look for commas and quotes that are not escaped"
                    )
                yield number, dict(zip(header, values, strict=True))
        except csv.Error as error:
            raise DataError(f"row {number + 1} of {table} (line {lines.line_num}) is not valid csv: {error}") from error


def _jsonl_records(table: Path) -> Iterator[_Record]:
    with table.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"row {number} of {table} is not valid JSON: {error}") from error
            if not isinstance(record, dict):
                raise DataError(f"row {number} of {table} is {type(record).__name__}, expected an object a line")
            _require_columns(record, f"row {number} of {table}")
            yield number, record


def _parquet_records(table: Path) -> Iterator[_Record]:
    with pq.ParquetFile(table) as file:
        _require_columns(file.schema_arrow.names, f"table {table}")
        number = 0
        for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS, columns=list(COLUMNS)):
            for record in batch.to_pylist():
                number += 1
                yield number, record


def _require_columns(names: Mapping[str, Any] | list[str], where: str) -> None:
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise DataError(
            f"{where} lacks column {', '.join(missing)}; got {', '.join(map(str, names)) or 'nothing'}; expected"
            f" {', '.join(COLUMNS)}, left empty where there is nothing"
        )


_READERS: dict[str, Callable[[Path], Iterator[_Record]]] = {
    ".csv": _csv_records,
    ".jsonl": _jsonl_records,
    ".parquet": _parquet_records,
}
