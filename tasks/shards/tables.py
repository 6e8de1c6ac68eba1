"""The tables that users pack: csv, jsonl or parquet, read a row at a time."""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.errors import DataError, SpecError
from data_specs.json_text import parse_json
from data_specs.run_config import CONTENTS, Content
from data_specs.wording import first_line, shortened, shown
from tasks.shards.table_cells import image_of, key_of, text_of

COLUMNS = ("key", "tag", "safe_text", "unsafe_text", "safe_image", "unsafe_image")
# Pictures in a row may be of many MB.
_PARQUET_BATCH_ROWS = 8
_PARQUET_BUFFER_BYTES = 1 << 20
# A picture as base64 text is one value of a csv file, or stands on one line of JSON.
_LARGEST_VALUE = 1 << 28

# A row's number, counted from 1 without the header, and its values by column, or why it has none.
_Record = tuple[int, Mapping[str, Any] | DataError]


@dataclass(frozen=True)
class PairRow:
    """One pair to pack; a side that is absent from `texts` or `images` has no such member."""

    place: str  # names the row in errors
    key: str
    tag: str | None
    texts: Mapping[Content, str]
    images: Mapping[Content, Path | bytes]  # where its file lies, or what is in it


def is_table(name: str) -> bool:
    """Whether a file is called like a table."""
    return Path(name).suffix.lower() in _READERS


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be packed, and why."""

    place: str
    problem: str


def read_table(table: Path, refused: Callable[[BadRow], None] | None = None) -> Iterator[PairRow]:
    """The rows of a table, in order; empty values are absent, image paths start at the table's folder.

    Args:
        table: file ending in .csv, .jsonl or .parquet.
        refused: is told of each row that cannot be read, and the next one follows; None raises.

    Raises:
        SpecError: it has another ending.
        DataError: it does not exist, lacks a column, or a row cannot be read; the row and column are named.
    """
    reader = _READERS.get(table.suffix.lower())
    if reader is None:
        raise SpecError(f"table {table} ends in {shown(table.suffix)}; expected one of {', '.join(_READERS)}")
    if not table.is_file():
        raise DataError(f"table {table} does not exist; expected a file with the columns {', '.join(COLUMNS)}")
    return _rows(table, reader, refused)


def _rows(
    table: Path, reader: Callable[[Path], Iterator[_Record]], refused: Callable[[BadRow], None] | None
) -> Iterator[PairRow]:
    try:
        for number, record in reader(table):
            place = f"row {number} of {table}"
            try:
                row = _row(record, place, table.parent)
            except DataError as error:
                if refused is None:
                    raise
                refused(BadRow(place, str(error)))
                continue
            yield row
    except UnicodeDecodeError as error:
        raise DataError(f"table {table} is not UTF-8: {error}; save it as UTF-8") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"table {table} cannot be read: {first_line(error)}") from error


def _row(record: Mapping[str, Any] | DataError, place: str, folder: Path) -> PairRow:
    if isinstance(record, DataError):
        raise record
    texts = {content: text_of(record, f"{content}_text", place) for content in CONTENTS}
    images = {content: image_of(record, f"{content}_image", place, folder) for content in CONTENTS}
    return PairRow(
        place,
        key_of(record, place),
        text_of(record, "tag", place),
        {content: text for content, text in texts.items() if text is not None},
        {content: image for content, image in images.items() if image is not None},
    )


def _csv_records(table: Path) -> Iterator[_Record]:
    csv.field_size_limit(_LARGEST_VALUE)
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
                if len(values) == len(header):
                    yield number, dict(zip(header, values, strict=True))
                    continue
                yield (
                    number,
                    DataError(
                        f"row {number} of {table} (line {lines.line_num}) has {len(values)} values, but the header names"
                        f" {len(header)} columns; look for commas and quotes that are not escaped"
                    ),
                )
        except csv.Error as error:
            raise DataError(f"row {number + 1} of {table} (line {lines.line_num}) is not valid csv: {error}") from error


def _jsonl_records(table: Path) -> Iterator[_Record]:
    with table.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(iter(lambda: file.readline(2 * _LARGEST_VALUE), ""), start=1):
            if not line.strip():
                continue
            try:
                yield number, _object(line, f"row {number} of {table}")
            except DataError as error:
                yield number, error


def _object(line: str, place: str) -> Mapping[str, Any]:
    try:
        record = parse_json(line)
    except ValueError as error:
        raise DataError(f"{place} is not valid JSON: {error}") from error
    if not isinstance(record, dict):
        raise DataError(f"{place} is {type(record).__name__}, expected an object a line")
    _require_columns(record, place)
    return record


def _parquet_records(table: Path) -> Iterator[_Record]:
    # Buffered, else a whole column of a row group is in memory at once, and in a table of pictures that is most of it.
    with pq.ParquetFile(table, buffer_size=_PARQUET_BUFFER_BYTES, pre_buffer=False) as file:
        _require_columns(file.schema_arrow.names, f"table {table}")
        number = 0
        for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS, columns=list(COLUMNS), use_threads=False):
            columns = [_values(batch.column(name)) for name in COLUMNS]
            for values in zip(*columns, strict=True):
                number += 1
                yield number, dict(zip(COLUMNS, values, strict=True))


def _values(column: pa.Array) -> Iterator[Any]:
    """The values of a column one by one; lists of bytes as bytes."""
    kind = column.type
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if any(is_list(kind) for is_list in lists) and pa.types.is_uint8(kind.value_type):
        for item in column:
            whole = item.is_valid and item.values.null_count == 0
            yield item.values.to_numpy().tobytes() if whole else item.as_py()
    else:
        yield from (item.as_py() for item in column)


def _require_columns(names: Mapping[str, Any] | list[str], where: str) -> None:
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise DataError(
            f"{where} lacks column {', '.join(missing)}; got {shortened(', '.join(map(str, names)), 200) or 'nothing'}; expected"
            f" {', '.join(COLUMNS)}, left empty where there is nothing"
        )


_READERS: dict[str, Callable[[Path], Iterator[_Record]]] = {
    ".csv": _csv_records,
    ".jsonl": _jsonl_records,
    ".parquet": _parquet_records,
}
